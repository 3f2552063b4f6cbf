/*
  Scored rules for text: what kind of text is it? Here markup and what is written in it; the files are read in
  the order of their names.

  Read for files that are so far text/plain or unknown, over their first 32000 bytes with a line feed put in
  front, so that \n stands for the start of any line; UTF-16 is turned into UTF-8 before. Files with a NUL byte
  there are not text and are not read. Of all rules that match, the one with the highest score names the format; the first one on ties. Every rule has `type`;
  without `score` it counts 1. The variables `mime`, `magic` and `type` hold what is known so far.

  More telling marks earn more: 10 to 30 for structure no other text has, 5 for several usual words of a
  language, 1 to 2 for a hint.
*/

rule email_headers {
  meta:
    type = "document/email"
    score = 12
  strings:
    $received = /\nreceived:[ \t]{1,8}(from|by) / nocase
    $id = /\nmessage-id:[ \t]{1,8}</ nocase
    $mime = /\nmime-version:[ \t]{1,8}1\.0/ nocase
    $transfer = /\ncontent-transfer-encoding:[ \t]{1,8}[a-z78]/ nocase
    $from = /\nfrom:[ \t]{1,8}[^\n]{1,200}@/ nocase
    $to = /\nto:[ \t]{1,8}[^\n]{1,200}@/ nocase
    $subject = /\nsubject:[ \t]{0,8}[^\n]/ nocase
    $date = /\ndate:[ \t]{1,8}[a-z0-9]/ nocase
  condition:
    ($received in (0..2000) or $id in (0..2000) or $mime in (0..2000) or $from in (0..2000)) and 4 of them
}

rule json_text {
  meta:
    type = "text/json"
    score = 9
  strings:
    $object = /^\n\s{0,64}\{\s{0,200}"[^"\n]{1,200}"\s{0,16}:\s{0,16}["\{\[0-9tfn-]/
    $list = /^\n\s{0,64}\[\s{0,200}\{\s{0,200}"[^"\n]{1,200}"\s{0,16}:/
  condition:
    any of them
}

rule xml_text {
  meta:
    type = "code/xml"
    score = 8
  strings:
    $declaration = /^\n(\xef\xbb\xbf)?\s{0,64}<\?xml\s/ nocase
    $element = /^\n(\xef\xbb\xbf)?\s{0,64}<[a-z_][a-z0-9_.-]{0,60}:[a-z_][a-z0-9_.-]{0,60}[\s>]/ nocase
    $namespace = /\sxmlns(:[a-z0-9_-]{1,40})?\s?=\s?["'](https?:|urn:)/ nocase
  condition:
    $declaration or ($element and $namespace)
}

rule svg_text {
  meta:
    type = "image/svg"
    score = 20
  strings:
    $open = /^\n\s{0,64}(<\?xml[^>]{0,200}>\s{0,64})?(<!--[^>]{0,2000}-->\s{0,64})?<svg[\s>]/ nocase
    $namespace = "http://www.w3.org/2000/svg"
  condition:
    $open and $namespace
}

rule sysmon_events {
  meta:
    type = "metadata/sysmon"
    score = 30
  strings:
    $event = /<Event(s)?[\s>]/
    $schema = "schemas.microsoft.com/win/2004/08/events/event"
    $provider = "Microsoft-Windows-Sysmon"
  condition:
    all of them
}

rule clickonce_manifest {
  meta:
    type = "code/clickonce"
    score = 25
  strings:
    $assembly = /<(asmv1:)?assembly[\s>]/
    $schema = "urn:schemas-microsoft-com:asm.v"
    $deployment = /<(asmv[123]:)?(deployment|entryPoint|deploymentProvider)[\s>]/
  condition:
    all of them
}

rule xfa_form {
  meta:
    type = "code/xfa"
    score = 25
  strings:
    $packet = "http://ns.adobe.com/xdp/"
    $form = "http://www.xfa.org/schema/"
    $template = /<(template|xfa:datasets|subform)[\s>]/
  condition:
    ($packet or $form) and $template
}

rule windows_script_file {
  meta:
    type = "code/wsf"
    score = 22
  strings:
    $job = /<job[\s>]/ nocase
    $script = /<script\s{1,8}language\s?=/ nocase
    $end = "</job>" nocase
  condition:
    $job and $script and ($end or $job in (0..1000))
}

rule windows_script_component {
  meta:
    type = "code/wsc"
    score = 23
  strings:
    $component = /<(component|scriptlet|package)[\s>]/ nocase
    $registration = /<registration[\s>]/ nocase
    $script = /<script[\s>]/ nocase
  condition:
    all of them
}

rule html_application {
  meta:
    type = "code/hta"
    score = 24
  strings:
    $tag = /<hta:application[\s>\/]/ nocase
  condition:
    $tag
}

rule html_page {
  meta:
    type = "code/html"
    score = 10
  strings:
    $doctype = /^\n(\xef\xbb\xbf)?\s{0,64}(<!--[^>]{0,1000}-->\s{0,64})?<!doctype\s{1,8}html/ nocase
    $html = /<html[\s>]/ nocase
    $head = /<head[\s>]/ nocase
    $body = /<body[\s>]/ nocase
    $end = "</html>" nocase
  condition:
    $doctype or 2 of ($html, $head, $body, $end)
}

rule html_part {
  meta:
    type = "code/html/component"
    score = 4
  strings:
    $template = /\n\s{0,16}<template[\s>]/ nocase
    $script = /<script(\s{1,8}(setup|lang|type)[^>\n]{0,80})?>/ nocase
    $style = /<style[\s>]/ nocase
    $div = /<div[\s>]/ nocase
    $close = /<\/(div|template|script)>/ nocase
  condition:
    mime != "text/x-script.python" and $close and 2 of ($template, $script, $style, $div)
}
