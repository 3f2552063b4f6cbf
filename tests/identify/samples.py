"""Small files of many formats, made here, with the names the contract has for them."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile

import cart

from tests.identify.support import stream


def zipped(*names: str) -> bytes:
    """Make a ZIP file with members of these names."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return buffer.getvalue()


def tarred() -> bytes:
    """Make a tar file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("member"))
    return buffer.getvalue()


def pe(machine: int, flags: int) -> bytes:
    """Make the headers of a PE file."""
    optional = struct.pack("<H", 0x20B if machine == 0x8664 else 0x10B) + bytes(238)
    header = b"MZ" + bytes(58) + struct.pack("<I", 128) + bytes(64)
    return (
        header
        + b"PE\0\0"
        + struct.pack("<HHIIIHH", machine, 1, 0, 0, 0, 240, flags)
        + optional
        + bytes(512)
    )


def elf(bits: int, kind: int) -> bytes:
    """Make the header of an ELF file."""
    start = b"\x7fELF" + bytes([bits // 32, 1, 1, 0]) + bytes(8)
    return start + struct.pack("<HHI", kind, 62 if bits == 64 else 3, 1) + bytes(200)


def carted(data: bytes) -> bytes:
    """Wrap bytes in CaRT."""
    output = io.BytesIO()
    cart.pack_stream(io.BytesIO(data), output)
    return output.getvalue()


SAMPLES: dict[str, tuple[str, str, bytes]] = {
    # name: format, extension, bytes
    "words": ("text/plain", "txt", b"Nothing but words, and a few more of them.\n"),
    "noise": ("unknown", "", b"\xf7\x00" + stream(4000)),
    "zip": ("archive/zip", "zip", zipped("a.txt", "b.txt")),
    "empty zip": ("archive/zip", "zip", zipped()),
    "jar": ("java/jar", "jar", zipped("META-INF/MANIFEST.MF", "a/B.class")),
    "classes": ("java/jar", "jar", zipped("a/B.class", "a/C.class", "notes.txt")),
    "apk": ("android/apk", "apk", zipped("META-INF/M.MF", "AndroidManifest.xml", "classes.dex")),
    "ipa": ("ios/ipa", "ipa", zipped("Payload/Thing.app/Info.plist", "Payload/Thing.app/Thing")),
    "docx": (
        "document/office/word",
        "doc",
        zipped("[Content_Types].xml", "_rels/.rels", "word/document.xml"),
    ),
    "xlsx": (
        "document/office/excel",
        "xls",
        zipped("[Content_Types].xml", "docProps/app.xml", "xl/workbook.xml"),
    ),
    "pptx": (
        "document/office/powerpoint",
        "ppt",
        zipped("[Content_Types].xml", "_rels/.rels", "ppt/slide1.xml"),
    ),
    "ooxml": (
        "document/office/unknown",
        "",
        zipped("[Content_Types].xml", "_rels/.rels", "other/thing.xml"),
    ),
    "nuget": (
        "archive/zip",
        "zip",
        zipped("[Content_Types].xml", "_rels/.rels", "x.nuspec", "core/1.psmdcp"),
    ),
    "prefixed zip": ("archive/zip", "zip", b"\xfe" * 3000 + zipped("a.txt")),
    "tar": ("archive/tar", "tar", tarred()),
    "gzip": ("archive/gzip", "gzip", b"\x1f\x8b\x08\x00" + bytes(60)),
    "7z": ("archive/7-zip", "7zip", b"7z\xbc\xaf\x27\x1c\x00\x04" + stream(60)),
    "cart": ("archive/cart", "cart", carted(b"some bytes")),
    "exe 32": ("executable/windows/pe32", "exe", pe(0x14C, 0x0002)),
    "exe 64": ("executable/windows/pe64", "exe", pe(0x8664, 0x0022)),
    "dll 32": ("executable/windows/dll32", "dll", pe(0x14C, 0x2102)),
    "dll 64": ("executable/windows/dll64", "dll", pe(0x8664, 0x2022)),
    "exe arm": ("executable/windows/dos", "exe", pe(0xAA64, 0x0022)),
    "mz alone": ("executable/windows/dos", "exe", b"MZ\x90\x00" + bytes(200)),
    "mz cut": ("unknown", "", b"MZ\x90\x00\x03\x00\x00\x00\x04\x00\x00\x00\xff\xff" + bytes(20)),
    "elf 64": ("executable/linux/elf64", "", elf(64, 2)),
    "elf 32": ("executable/linux/elf32", "", elf(32, 2)),
    "so 64": ("executable/linux/so64", "", elf(64, 3)),
    "so 32": ("executable/linux/so32", "", elf(32, 3)),
    "pdf": ("document/pdf", "pdf", b"%PDF-1.5\n%\xe2\xe3\n1 0 obj\n<</Type/Catalog>>\nendobj\n%%EOF"),
    "pdf locked": ("document/pdf/passwordprotected", "pdf", b"%PDF-1.5\ntrailer <</Encrypt 5 0 R>>\n%%EOF"),
    "pdf portfolio": (
        "document/pdf/portfolio",
        "pdf",
        b"%PDF-1.7\n<</Type/Catalog/Collection 2 0 R>>\n%%EOF",
    ),
    "rtf": ("document/office/rtf", "rtf", rb"{\rtf1\ansi\deff0 {\fonttbl {\f0 A;}} Hello}"),
    "rtf cut": ("document/office/rtf", "rtf", rb"{\rt0 \par Hello there\par}"),
    "png": (
        "image/png",
        "png",
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 1, 1) + b"\x08\x02\0\0\0",
    ),
    "gif": ("image/gif", "gif", b"GIF89a\x01\x00\x01\x00\x80\x00\x00"),
    "jpeg": ("image/jpg", "jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"),
    "pyc": ("python/bytecode", "pyc", b"\xa7\r\r\n" + bytes(12) + b"\xe3" + bytes(40)),
    "sqlite": ("db/sqlite", "sqlite", b"SQLite format 3\x00\x10\x00\x01\x01" + bytes(100)),
    "json": ("text/json", "json", b'{"key": [1, 2, {"deep": null}]}\n'),
    "xml": ("code/xml", "xml", b'<?xml version="1.0"?>\n<thing><part/></thing>\n'),
    "html": ("code/html", "html", b"<!DOCTYPE html>\n<html><head></head><body>x</body></html>\n"),
    "svg": ("image/svg", "svg", b'<svg xmlns="http://www.w3.org/2000/svg" width="1"></svg>\n'),
    "shell": ("code/shell", "sh", b"#!/bin/sh\nset -e\nif [ -x /bin/ls ]; then\n  ls\nfi\n"),
    "python": ("code/python", "py", b"import os\nimport sys\n\n\ndef main():\n    return os.name\n"),
    "javascript": (
        "code/javascript",
        "js",
        b"'use strict';\nconst fs = require('fs');\nmodule.exports = () => { fs.a(); };\n",
    ),
    "powershell": (
        "code/ps1",
        "txt",
        b"param (\n  [string]$Name\n)\nGet-ChildItem $Name | Where-Object { $_ -ne 1 }\nWrite-Output 1\n",
    ),
    "powershell utf-16": (
        "code/ps1",
        "txt",
        "$a = New-Object Net.WebClient\nInvoke-Expression $a.DownloadString('x')\n".encode("utf-16"),
    ),
    "batch": ("code/batch", "bat", b"@echo off\r\nset NAME=x\r\nif exist %NAME% goto end\r\n:end\r\n"),
    "vbs": (
        "code/vbs",
        "txt",
        b'Dim shell\r\nSet shell = CreateObject("WScript.Shell")\r\nOn Error Resume Next\r\n',
    ),
    "php": ("code/php", "php", b"<?php\n$a = 1;\necho $a;\n"),
    "c": ("code/c", "txt", b"#include <stdio.h>\n\nint main(void)\n{\n  return 0;\n}\n"),
    "header": ("code/h", "txt", b"#ifndef THING_H\n#define THING_H\nint thing(int a);\n#endif\n"),
    "java": ("code/java", "txt", b"package a.b;\n\nimport java.util.List;\n\npublic class Thing {\n}\n"),
    "csharp": ("code/csharp", "txt", b"using System;\n\nnamespace Thing\n{\n  public class A { }\n}\n"),
    "go": ("code/go", "txt", b'package main\n\nimport "fmt"\n\nfunc main() {\n\tfmt.Println()\n}\n'),
    "rust": (
        "code/rust",
        "txt",
        b'use std::io;\n\nfn main() {\n    let x = 1;\n    println!("{}", x);\n}\n',
    ),
    "perl": ("code/perl", "pl", b"use strict;\nmy $a = shift;\nsub thing {\n  return $a =~ /x/;\n}\n1;\n"),
    "ruby": ("code/ruby", "txt", b"require 'set'\n\nclass Thing\n  def run\n  end\nend\n"),
    "sql": ("code/sql", "txt", b"CREATE TABLE a (id int primary key);\nINSERT INTO a VALUES (1);\n"),
    "ini": ("text/ini", "ini", b"[section]\nname = value\nother = 3\n"),
    "registry": (
        "text/windows/registry",
        "reg",
        b"Windows Registry Editor Version 5.00\r\n\r\n[HKEY_CURRENT_USER\\A]\r\n",
    ),
    "calendar": ("text/calendar", "", b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nEND:VCALENDAR\r\n"),
    "mail": (
        "document/email",
        "eml",
        b"Received: from a by b\r\nMessage-ID: <1@b>\r\nFrom: a@b\r\nTo: c@d\r\nSubject: x\r\n\r\n",
    ),
    "shortcut": (
        "meta/shortcut/windows",
        "lnk",
        bytes.fromhex("4c0000000114020000000000c000000000000046") + bytes(60),
    ),
    "pcap": (
        "network/tcpdump",
        "pcap",
        b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00" + bytes(8) + b"\xff\xff\0\0\x01\0\0\0",
    ),
    "torrent": ("application/torrent", "torrent", b"d8:announce20:http://example.org/a4:infod4:name1:aee"),
    "deb": (
        "archive/deb",
        "deb",
        b"!<arch>\ndebian-binary   0           0     0     100644  4         `\n2.0\n",
    ),
    "ar": (
        "archive/ar",
        "ar",
        b"!<arch>\nthing.o/        0           0     0     100644  4         `\nabcd",
    ),
}
