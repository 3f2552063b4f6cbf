/* Scored rules for text: settings, records and prose. The first of these files says how they are read. */

rule autorun_text {
  meta:
    type = "code/autorun"
    score = 14
  strings:
    $section = /\n\s{0,8}\[autorun(\.\w{1,20})?\]\s{0,8}\r?\n/ nocase
    $key = /\n\s{0,8}(open|shellexecute|icon|action|label|shell\\\w{1,20}\\command)\s?=/ nocase
  condition:
    $section and $key
}

rule registry_text {
  meta:
    type = "text/windows/registry"
    score = 20
  strings:
    $header = /^\n(\xef\xbb\xbf)?(Windows Registry Editor Version \d|REGEDIT4)/
    $key = /\n\[-?HKEY_(LOCAL_MACHINE|CURRENT_USER|CLASSES_ROOT|USERS|CURRENT_CONFIG)/ nocase
  condition:
    $header or #key > 1
}

rule calendar_text {
  meta:
    type = "text/calendar"
    score = 20
  strings:
    $begin = /\nBEGIN:VCALENDAR\r?\n/ nocase
  condition:
    $begin
}

rule ini_text {
  meta:
    type = "text/ini"
    score = 3
  strings:
    $first = /^\n(\xef\xbb\xbf)?(\s{0,8}[;#][^\n]{0,200}\n|\s{0,8}\n){0,40}\s{0,4}\[[\w .:\/\\@-]{1,120}\]\s{0,8}\r?\n/
    $pair = "="
    $closing = /[;{]\s{0,4}\r?\n/
  condition:
    $first and #pair > 0 and #closing < 3
}

rule markdown_text {
  meta:
    type = "code/markdown"
    score = 2
  strings:
    $heading = /\n#{1,4}\s[A-Za-z0-9`\[][^\n]{1,160}\n/
    $underline = /\n[A-Z][^\n]{2,120}\n(={4,}|-{4,})\s{0,4}\n/
    $fence = /\n\s{0,8}```[a-z+-]{0,20}\s{0,4}\n/
    $link = /\[[^\]\n]{1,160}\]\((https?:\/\/|\.{0,2}\/|#)[^)\n]{1,300}\)/
    $bold = /\*\*[^*\n]{2,120}\*\*/
    $item = /\n\s{0,8}[-*]\s[A-Za-z`\[*][^\n]{3,300}/
    $code = /\n[^\n]{0,80}`[^`\n]{1,80}`/
  condition:
    ($fence and ($heading or $underline or $link)) or ($link and $heading) or
    (#heading > 2 and ($code or $bold or #item > 2 )) or ($underline and $link and #item > 1)
}

rule sgml_text {
  meta:
    type = "code/sgml"
    score = 7
  strings:
    $doctype = /^\n\s{0,64}<!doctype\s{1,4}(refentry|book|article|chapter|debiandoc|linuxdoc|manpage)\b/ nocase
    $declaration = /\n<!(ENTITY|ELEMENT|ATTLIST)\s/
  condition:
    $doctype or #declaration > 2
}

rule troff_text {
  meta:
    type = "text/troff"
    score = 6
  strings:
    $title = /\n\.(TH|Dd)\s{1,4}[^\n]{2,200}/
    $section = /\n\.(SH|Sh|SS)\s{1,4}"?[A-Z]/
    $macro = /\n\.(B|I|PP|TP|IP|BR|BI|RS|RE|nf|fi|br|so)(\s|\n)/
  condition:
    ($title and ($section or $macro)) or ($section and #macro > 3)
}

rule sylk_text {
  meta:
    type = "document/office/sylk"
    score = 25
  strings:
    $id = /^\nID;P[^\n]{0,80}\r?\n/
    $cell = /\nC;[XY]\d/
  condition:
    $id and $cell
}

rule vipermonkey_log {
  meta:
    type = "log/vipermonkey"
    score = 20
  strings:
    $tool = "ViperMonkey" nocase
    $recorded = "Recorded Actions:"
    $table = /\n\|\s{0,8}Action\s{1,40}\|\s{0,8}Parameters\s/
  condition:
    ($tool and $recorded) or ($recorded and $table)
}
