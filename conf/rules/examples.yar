/*
  Rules to begin with; put your own beside them, or name another folder in `parser.rules`.
  Files end in .yar or .yara. A file with an error is left out and reported, the others work.
*/

import "pe"

rule eicar_test_file : test
{
  meta:
    description = "The harmless file that virus scanners agree to report"
    reference = "https://www.eicar.org/download-anti-malware-testfile/"
  strings:
    // Written in two parts, so that this rule file itself is no hit.
    $begin = { 58 35 4F 21 50 25 40 41 50 5B 34 5C 50 5A 58 35 34 28 50 5E 29 37 43 43 29 37 7D }
    $end = { 24 45 49 43 41 52 2D 53 54 41 4E 44 41 52 44 2D 41 4E 54 49 56 49 52 55 53 2D 54 45 53 54 2D 46 49 4C 45 21 }
  condition:
    $begin at 0 and $end in (27..80)
}

rule upx_packed_program : packer
{
  meta:
    description = "A program packed with UPX: its sections or its loader say so"
  strings:
    $mark = "UPX!"
    $info = "$Info: This file is packed with the UPX executable packer"
  condition:
    (pe.is_pe and for any section in pe.sections : (section.name == "UPX0" or section.name == "UPX1")) or
    (uint32(0) == 0x464C457F and $mark and $info)
}

rule program_inside_document : dropper
{
  meta:
    description = "A Windows program inside a PDF, RTF or Office file"
  strings:
    $stub = "This program cannot be run in DOS mode"
    $stub_hex = "546869732070726f6772616d2063616e6e6f742062652072756e20696e20444f53206d6f6465" nocase
  condition:
    (uint32be(0) == 0x25504446 or uint32be(0) == 0x7B5C7274 or uint32be(0) == 0xD0CF11E0) and any of them
}
