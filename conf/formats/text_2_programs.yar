/* Scored rules for text: programs and scripts. The first of these files says how they are read. */

rule css_sheet {
  meta:
    type = "code/css"
    score = 6
  strings:
    $rule = /\n[ \t]{0,8}@(media|import|charset|font-face|keyframes|supports|namespace)\b/ nocase
    $property = /[\n;{]\s{0,8}(color|margin|padding|display|font-(size|family|weight)|background(-color)?|border(-radius)?|width|height|position|text-align)\s?:\s?[^;{}\n]{1,120};/ nocase
    $script = /\b(function|var|const|return|import)\b[^;{}\n]{0,40}[=(;]/
  condition:
    (#property > 2 or ($rule and #property > 0)) and #script < 2
}

rule javascript_text {
  meta:
    type = "code/javascript"
    score = 5
  strings:
    $strict = /\n\s{0,8}['"]use strict['"]/
    $require = /\b(var|let|const)\s{1,4}[\w$\{][\w$, \t\}]{0,100}\s?=\s?require\(\s?['"]/
    $exports = /\n\s{0,4}(module\.)?exports(\.[\w$]{1,60})?\s?=/
    $es_export = /\nexport\s{1,4}(default|const|let|function|class|async|\{|\*)/
    $es_import = /\nimport\s{1,4}([\w$*\{][^\n;]{0,200}\s)?(from\s{1,4})?['"][^'"\n]{1,200}['"];?/
    $arrow = /\([\w$, \{\}=]{0,80}\)\s?=>\s?[\{(\w]/
    $function = /\bfunction\s?[\w$]{0,60}\s?\([\w$, ]{0,120}\)\s?\{/
    $document = /\b(document|window|console|process|JSON|Object|Array)\.[a-z]\w{2,30}\b/
    $equal = /[!=]==\s?[\w$'"-]/
    $local = /\n\s{0,40}(var|let|const)\s{1,4}[\w$]{1,60}\s?=[^=]/
    $php = "<?php"
    $html = /<(html|body|!doctype)[\s>]/ nocase
  condition:
    not $php and not $html and
    3 of ($strict, $require, $exports, $es_export, $es_import, $arrow, $function, $document, $equal, $local)
}

rule javascript_module {
  meta:
    type = "code/javascript"
    score = 6
  strings:
    $strict = /^\n\s{0,8}['"]use strict['"];?\s/
    $wrapper = /^\n\s{0,8}[!;(+]{0,2}function\s?\([\w$, ]{0,80}\)\s?\{/
    $exports = /\n(module\.exports|exports\.[\w$]{1,60}|Object\.defineProperty\(exports)/
    $node = /^\n#![^\n]{0,60}\b(node|deno|bun)\b/
  condition:
    any of them
}

rule jscript_text {
  meta:
    type = "code/jscript"
    score = 8
  strings:
    $object = /new\s{1,4}ActiveXObject\s?\(/ nocase
    $host = /\bWScript\.(CreateObject|Shell|Echo|Sleep|Quit|Arguments)/ nocase
    $variable = /\bvar\s{1,4}\w{1,60}\s?=/
    $function = /\bfunction\s?\w{0,60}\s?\(/
  condition:
    ($object or $host) and ($variable or $function)
}

rule vbscript_text {
  meta:
    type = "code/vbs"
    score = 7
  strings:
    $dim = /\n\s{0,8}dim\s{1,4}[a-z_]\w{0,60}/ nocase
    $set = /\n\s{0,16}set\s{1,4}[a-z_]\w{0,60}\s{0,4}=\s{0,4}\w/ nocase
    $create = /\bcreateobject\s?\(?\s?"/ nocase
    $error = /\n\s{0,8}on\s{1,4}error\s{1,4}(resume|goto)/ nocase
    $end = /\n\s{0,16}end\s{1,4}(sub|function|if|with|select)\b/ nocase
    $sub = /\n\s{0,8}(public\s|private\s)?\s{0,4}(sub|function)\s{1,4}[a-z_]\w{0,60}\s?\(?/ nocase
    $explicit = /\noption\s{1,4}explicit/ nocase
    $attribute = /\nattribute\s{1,4}VB_/ nocase
    $wscript = /\bwscript\.\w{3,20}/ nocase
    $then = /\bthen\s{0,4}\n/ nocase
  condition:
    $attribute or ($create and 2 of ($dim, $set, $error, $end, $sub)) or
    (4 of ($dim, $set, $error, $end, $sub, $explicit, $wscript, $then) and ($end or $error or $explicit))
}

rule powershell_text {
  meta:
    type = "code/ps1"
    score = 8
  strings:
    $cmdlet = /\b(get|set|new|invoke|write|start|stop|add|remove|import|export|out|select|where|foreach|test|convertto|convertfrom)-(item|object|content|host|expression|webrequest|process|service|itemproperty|output|childitem|path|location|variable|module|restmethod|null|string|csv|json|random|date|error|verbose|warning|member|command|type)\b/ nocase
    $param = /\n\s{0,8}param\s{0,4}\(\s/ nocase
    $binding = /\[(cmdletbinding|parameter)\s?\(/ nocase
    $typed = /\[(string|int|switch|byte\[\]|system\.[a-z.]{3,60}|convert|text\.encoding|void|io\.file)\]/ nocase
    $variable = /\$[a-z_][\w:]{0,60}\s?=\s?[^=~]/ nocase
    $operator = /\s-(eq|ne|like|match|notmatch|replace|join|split|contains|and|or|not|bxor)\s/ nocase
    $function = /\nfunction\s{1,4}[a-z]{2,16}-\w{2,60}/ nocase
    $iex = /\b(iex|invoke-expression)\b[\s(]/ nocase
  condition:
    ($function and ($param or $binding or $cmdlet)) or (#cmdlet > 1 and ($variable or $operator or $typed)) or
    ($param and $binding) or ($iex and $typed) or ($cmdlet and $variable and ($operator or $typed))
}

rule batch_text {
  meta:
    type = "code/batch"
    score = 8
  strings:
    $echo = /\n\s{0,8}@?echo\s{1,4}(off|on)\b/ nocase
    $set = /\n\s{0,8}@?set\s{1,4}(\/[ap]\s{1,4})?"?[a-z_]\w{0,60}=/ nocase
    $goto = /\n[^\n]{0,120}\bgoto\s{0,4}:?[a-z_]\w{0,60}\r?\n/ nocase
    $label = /\n\s{0,4}:[a-z_]\w{0,60}\r?\n/ nocase
    $if = /\n\s{0,8}@?if\s{1,4}(\/i\s{1,4})?(not\s{1,4})?(exist|errorlevel|defined|"?%)/ nocase
    $percent = /%(~[a-z]{0,8}\d|[a-z_]\w{0,40}%)/ nocase
    $local = /\n\s{0,4}@?setlocal\b/ nocase
    $rem = /\n\s{0,8}@?rem\s/ nocase
    $for = /\n[^\n]{0,40}\bfor\s{1,4}(\/[fdlr]\s{1,4}[^\n]{0,80})?%%\w\s{1,4}in\s?\(/ nocase
    $call = /\n\s{0,8}@?(call|start)\s{1,4}[^\n]{1,80}\.(bat|cmd|exe)\b/ nocase
  condition:
    ($echo and ($percent or $set or $goto or $rem or $call or $if)) or
    ($goto and $label and ($if or $set)) or 4 of them
}

rule shell_text {
  meta:
    type = "code/shell"
    score = 6
  strings:
    $test = /\n\s{0,16}(if|while|elif)\s{1,4}(!\s)?\[\[?\s[^\n]{1,200}\]\s?;?\s{0,4}(then|do)?/
    $fi = /\n\s{0,16}(fi|esac|done)(\s|;|$)/
    $case = /\n\s{0,16}case\s{1,4}"?\$[^\n]{1,80}\sin\s/
    $function = /\n\s{0,8}(function\s{1,4})?[a-z_][\w-]{0,60}\s?\(\)\s{0,4}\{/ nocase
    $export = /\n\s{0,8}export\s{1,4}[A-Za-z_]\w{0,60}=/
    $expansion = /\$\{[A-Za-z_]\w{0,60}(:?[-=+?]|%|#)[^\}\n]{0,80}\}/
    $substitution = /\$\([a-z][^)\n]{1,120}\)/
    $set = /\nset\s{1,4}-[euxo]{1,4}\b/
    $local = /\n\s{1,16}local\s{1,4}[a-z_]\w{0,60}/ nocase
  condition:
    (($fi and $test) or ($fi and $case)) and ($expansion or $substitution or $export or $function or $set or $local) or
    ($set and $fi) or (4 of them and $fi)
}

rule python_text {
  meta:
    type = "code/python"
    score = 7
  strings:
    $def = /\n[ \t]{0,40}(async[ \t]{1,4})?def[ \t]{1,4}[A-Za-z_]\w{0,80}\([^\n]{0,300}(\)(\s?->\s?[^\n:]{1,120})?:|,|\()[ \t]{0,8}(#[^\n]{0,200})?\r?\n/
    $class = /\nclass[ \t]{1,4}[A-Za-z_]\w{0,80}(\([^\n]{0,200}\))?:/
    $from = /\n[ \t]{0,16}from[ \t]{1,4}\.{0,4}[A-Za-z_][\w.]{0,120}[ \t]{1,4}import[ \t]{1,4}[A-Za-z_(*]/
    $import = /\nimport[ \t]{1,4}[A-Za-z_][\w.]{0,120}([ \t]{1,4}as[ \t]{1,4}\w{1,60})?[ \t]{0,4}(,[^\n;'"]{0,200})?\r?\n/
    $main = /\nif[ \t]{1,4}__name__[ \t]{0,4}==[ \t]{0,4}['"]__main__['"]/
    $self = "self."
    $raise = /\n[ \t]{1,80}raise[ \t]{1,4}[A-Z]\w{1,60}(Error|Exception|Warning)\b/
    $except = /\n[ \t]{0,80}(except([ \t]{1,4}[^\n:]{1,120})?|try|finally|else):[ \t]{0,8}(#[^\n]{0,200})?\r?\n/
    $docstring = /\n[ \t]{0,80}[rbuf]?("""|''')/
    $dunder = /\b__(init|all|future|version|name|str|repr|call|slots|doc|author)__\b/
  condition:
    $main or ($def and 2 of ($class, $from, $import, $self, $raise, $except, $docstring, $dunder)) or
    (($from or $import) and 2 of ($def, $class, $self, $raise, $except, $docstring, $dunder)) or
    ($class and 2 of ($def, $self, $docstring, $dunder, $from, $import)) or (#from > 1 and ($docstring or $dunder or $import))
}

rule perl_text {
  meta:
    type = "code/perl"
    score = 8
  strings:
    $shebang = /^\n#![^\n]{0,60}\bperl/
    $strict = /\n\s{0,4}use\s{1,4}(strict|warnings|utf8|vars|lib|base|parent|5\.\d{3})\b/
    $package = /\npackage\s{1,4}[A-Z]\w{0,60}(::\w{1,60}){0,8}\s?(;|\{)/
    $my = /\n\s{0,40}my\s{1,4}[\(\$@%]\s?[\$@%]?\w{1,60}/
    $sub = /\n\s{0,8}sub\s{1,4}\w{1,60}\s{0,4}(\([^)\n]{0,20}\)\s{0,4})?\{/
    $shift = /=\s?(shift(\(|;)|@_;)/
    $match = /=~\s{0,4}(m|s|tr|y|qr)?[\/{!#|]/
    $true = /\n1;\s{0,4}\n/
  condition:
    $shebang or ($strict and ($my or $sub or $package or $true)) or ($package and ($my or $sub)) or
    3 of ($my, $sub, $shift, $match, $true)
}

rule php_text {
  meta:
    type = "code/php"
    score = 15
  strings:
    $open = /<\?php[\s\/]/ nocase
    $short = /<\?=\s?\$[a-z_]/ nocase
    $variable = /\$[a-z_]\w{0,60}(\[[^\]\n]{1,60}\])?\s?=\s?[^=]/ nocase
  condition:
    $open in (0..1000) or ($open and $variable) or ($short and $variable)
}

rule ruby_text {
  meta:
    type = "code/ruby"
    score = 6
  strings:
    $shebang = /^\n#![^\n]{0,60}\bruby/
    $require = /\n\s{0,8}require(_relative)?\s{1,4}['"][\w.\/-]{1,120}['"]/
    $def = /\n\s{0,40}def\s{1,4}(self\.)?[a-z_]\w{0,60}[?!]?\s?(\([^)\n]{0,120}\))?\s{0,8}\n/
    $end = /\n\s{0,40}end\s{0,8}\n/
    $module = /\n\s{0,8}(module|class)\s{1,4}[A-Z]\w{0,60}(::[A-Z]\w{0,60}){0,4}(\s?<\s?[A-Z][\w:]{0,60})?\s{0,8}\n/
    $do = /\bdo\s?\|[\w, *&]{1,60}\|/
    $attribute = /\n\s{0,40}attr_(reader|writer|accessor)\s{1,4}:/
  condition:
    $shebang or ($end and 2 of ($require, $def, $module, $do, $attribute))
}

rule c_text {
  meta:
    type = "code/c"
    score = 5
  strings:
    $include = /\n\s{0,4}#\s{0,8}include\s{0,4}[<"][\w.\/+-]{1,120}[>"]/
    $main = /\n\s{0,4}(int|void)\s{1,4}main\s?\(/
    $function = /\n(static\s|extern\s|inline\s|const\s|unsigned\s){0,4}(void|int|char|long|double|float|bool|size_t|struct\s\w{1,60}|\w{1,60}_t)\s{0,2}\*{0,2}\s?\n?\w{1,60}\s?\([^;{}\n]{0,200}\)\s{0,4}\{/
    $typedef = /\n\s{0,4}typedef\s{1,4}(struct|enum|union|unsigned|void|int|char)\b/
    $namespace = /\n\s{0,4}(using\s{1,4}namespace\s|namespace\s{1,4}\w{0,60}\s{0,4}\{|template\s?<)/
    $return = /\n\s{1,16}return\s?[^;\n]{0,120};/
    $define = /\n\s{0,4}#\s{0,8}(define\s{1,4}\w{1,60}|ifdef\s|ifndef\s|endif\b|if\s{1,4}(!\s?)?defined)/
    $struct = /\n\s{0,8}(struct|enum|union)\s{1,4}\w{1,60}\s{0,4}\{/
    $comment = /\n\s{0,8}(\/\*|\/\/|\*\/)/
  condition:
    ($include and 1 of ($main, $function, $typedef, $return, $namespace, $struct)) or
    ($define and $comment and 2 of ($function, $typedef, $struct, $return, $include)) or
    ($function and $typedef) or ($main and $return) or ($namespace and $include)
}

rule c_header {
  meta:
    type = "code/h"
    score = 6
  strings:
    $guard = /\n\s{0,4}#\s{0,8}ifndef\s{1,4}[A-Za-z_]\w{0,120}(_H|_h|_HPP|_INCLUDED|_H_|_H__|_HH)\w{0,20}\s{0,8}(\/\*[^\n]{0,80})?\n\s{0,8}#\s{0,8}define\s/
    $once = /\n\s{0,4}#\s{0,4}pragma\s{1,4}once\b/
    $define = /\n\s{0,4}#\s{0,8}define\s{1,4}\w{1,80}/
    $include = /\n\s{0,4}#\s{0,8}include\s{0,4}[<"]/
    $body = /\n(int|void)\s{1,4}main\s?\(/
  condition:
    not $body and ($guard or $once or (#define > 20 and $include))
}

rule csharp_text {
  meta:
    type = "code/csharp"
    score = 9
  strings:
    $using = /\n\s{0,4}using\s{1,4}(System|Microsoft|Windows|UnityEngine|Newtonsoft)(\.\w{1,60}){0,6}\s?;/
    $namespace = /\n\s{0,4}namespace\s{1,4}[A-Z]\w{0,60}(\.\w{1,60}){0,6}\s{0,4}(;|\{|\n)/
    $class = /\b(public|internal|private|protected)\s{1,4}(static\s|sealed\s|abstract\s|partial\s){0,3}\s{0,4}(class|struct|interface|enum)\s{1,4}\w{1,60}/
    $property = /\{\s?get;\s?(private\s|protected\s|internal\s)?(set;|init;)?\s?\}/
  condition:
    ($using and ($namespace or $class)) or ($namespace and $class and $property)
}

rule java_text {
  meta:
    type = "code/java"
    score = 9
  strings:
    $package = /\npackage\s{1,4}[a-z]\w{0,60}(\.\w{1,60}){0,12}\s?;/
    $import = /\nimport\s{1,4}(static\s{1,4})?[a-z]\w{0,60}(\.\w{1,60}){1,12}(\.\*)?\s?;/
    $class = /\n\s{0,8}(@\w{1,60}\s{1,8})?(public|private|protected|abstract|final)?\s{0,4}(abstract\s|final\s|static\s|sealed\s){0,3}\s{0,4}(class|interface|enum|record|@interface)\s{1,4}[A-Z]\w{0,60}/
    $main = /public\s{1,4}static\s{1,4}void\s{1,4}main\s?\(\s?(final\s{1,4})?String/
    $override = /\n\s{1,16}@Override\b/
  condition:
    ($package and ($class or $import)) or ($import and $class) or $main or ($class and $override)
}

rule jsp_text {
  meta:
    type = "code/jsp"
    score = 14
  strings:
    $directive = /<%@\s{0,4}(page|taglib|include)\s/ nocase
    $tag = /<jsp:\w{2,30}[\s>]/ nocase
    $code = /<%[=!]?\s?(response|request|session|out|pageContext)\./
  condition:
    any of them
}

rule go_text {
  meta:
    type = "code/go"
    score = 9
  strings:
    $package = /\npackage\s{1,4}[a-z_]\w{0,60}\s{0,4}(\/\/[^\n]{0,120})?\r?\n/
    $import = /\nimport\s{1,4}(\(\s|[\w.]{0,40}\s?")/
    $func = /\nfunc\s{1,4}(\(\w{0,40}\s?\*?[\w.\[\]]{1,80}\)\s{1,4})?\w{1,80}(\[[^\]\n]{1,80}\])?\(/
    $type = /\ntype\s{1,4}\w{1,80}\s{1,4}(struct|interface|func|map|\[\])/
    $assign = /\s:=\s/
  condition:
    $package and ($import or $func or $type) or ($func and $assign and $type)
}

rule rust_text {
  meta:
    type = "code/rust"
    score = 9
  strings:
    $use = /\n\s{0,8}(pub(\(\w{1,20}\))?\s{1,4})?use\s{1,4}(std|crate|super|self|core|alloc|\w{1,60})::[\w:{}*, \n]{1,200};/
    $fn = /\n\s{0,16}(pub(\(\w{1,20}\))?\s{1,4})?(async\s|unsigned\s|const\s|unsafe\s|extern\s"C"\s)?\s{0,4}fn\s{1,4}\w{1,80}(<[^>\n]{1,120}>)?\(/
    $impl = /\n\s{0,8}impl(<[^>\n]{1,120}>)?\s{1,4}[\w:<>,' &]{1,120}\s{0,4}(for\s[\w:<>,' &]{1,120})?\{/
    $let = /\n\s{1,40}let\s{1,4}(mut\s{1,4})?\w{1,60}(\s?:\s?[^=\n]{1,80})?\s?=/
    $attribute = /\n\s{0,16}#!?\[(derive|cfg|allow|inline|test|repr|must_use|doc)\b/
    $macro = /\b(println|vec|format|panic|assert_eq|matches|macro_rules)!\s?[\(\[\{ ]/
  condition:
    ($fn and 2 of ($use, $impl, $let, $attribute, $macro)) or ($use and $impl) or ($attribute and ($impl or $fn or $use))
}

rule protobuf_text {
  meta:
    type = "code/protobuf"
    score = 11
  strings:
    $syntax = /\nsyntax\s?=\s?"proto[23]"\s?;/
    $message = /\n\s{0,8}message\s{1,4}[A-Z]\w{0,80}\s{0,4}\{/
    $field = /\n\s{1,16}(repeated\s|optional\s|required\s)?\s{0,4}[\w.<>, ]{2,80}\s\w{1,80}\s?=\s?\d{1,6}\s?(\[[^\]\n]{1,120}\]\s?)?;/
  condition:
    $syntax or ($message and $field)
}

rule glsl_text {
  meta:
    type = "code/glsl"
    score = 9
  strings:
    $version = /\n\s{0,4}#version\s{1,4}\d{3}/
    $variable = /\n\s{0,8}(layout\s?\([^)\n]{1,80}\)\s?)?(uniform|varying|attribute|in|out)\s{1,4}(highp\s|mediump\s|lowp\s)?(float|int|[biu]?vec[234]|mat[234]|sampler\w{1,20})\s{1,4}\w/
    $output = /\bgl_(Position|FragColor|FragCoord|Vertex|FragData)\b/
    $main = /\nvoid\s{1,4}main\s?\(\s?(void)?\s?\)/
  condition:
    ($version and $main) or ($variable and ($output or $main)) or ($output and $main)
}

rule idl_text {
  meta:
    type = "code/idl"
    score = 12
  strings:
    $uuid = /\[\s{0,16}([a-z_(), \n\t]{0,200},\s{0,16})?uuid\s?\([0-9a-f-]{36}\)/ nocase
    $interface = /\n\s{0,8}(dispinterface|interface|library|coclass)\s{1,4}\w{1,80}\s{0,4}(:|\{|\n)/
    $parameter = /\[\s?(in|out|retval)(,\s?(in|out|retval|string|size_is\([^)\n]{1,40}\)))?\s?\]/
  condition:
    ($uuid and $interface) or ($interface and #parameter > 2)
}

rule sql_text {
  meta:
    type = "code/sql"
    score = 8
  strings:
    $create = /\n\s{0,8}create\s{1,4}(or\s{1,4}replace\s{1,4})?(temp\s|temporary\s|unique\s|global\s)?\s{0,4}(table|view|index|function|procedure|trigger|database|schema|sequence|type)\s/ nocase
    $insert = /\n\s{0,8}insert\s{1,4}into\s{1,4}[\w."`\[\]]{1,120}\s?(\(|values|select)/ nocase
    $select = /\n\s{0,8}select\s[^;]{1,400}\sfrom\s{1,8}[\w."`\[(]/ nocase
    $alter = /\n\s{0,8}(alter|drop)\s{1,4}(table|view|index|function|database|schema|column|type|sequence)\s/ nocase
    $update = /\n\s{0,8}(update\s{1,4}[\w."`\[\]]{1,120}\s{1,8}set|delete\s{1,4}from)\s/ nocase
    $key = /\b(primary|foreign)\s{1,4}key\b/ nocase
    $other = /\n\s{0,40}(def|func|function\s?\(|class\s\w{1,60}[:{]|import\s\w{1,60}$|#include)/
  condition:
    (2 of ($create, $insert, $select, $alter, $update, $key) or #create > 1 or #insert > 2) and #other < 2
}

rule lisp_text {
  meta:
    type = "code/lisp"
    score = 7
  strings:
    $define = /\n\s{0,4}\((defun|defmacro|defvar|defcustom|defconst|defclass|defgeneric|defmethod|define|define-syntax|define-module|in-package|defpackage|ns|defn|provide|require|use-modules)[\s']/ nocase
    $form = /\n\s{1,16}\((let\*?|lambda|cond|progn|setq|if|when|unless|begin|set!|letrec)[\s(]/ nocase
    $comment = /\n;{1,4}\s/
  condition:
    (#define > 1 and ($form or $comment)) or ($define and $form and $comment)
}

rule au3_text {
  meta:
    type = "code/au3"
    score = 12
  strings:
    $include = /\n\s{0,4}#include(-once|\s{1,4}<\w{1,40}\.au3>)/ nocase
    $directive = /\n\s{0,4}#(AutoIt3Wrapper|NoTrayIcon|RequireAdmin|Region)\b/ nocase
    $func = /\n\s{0,4}func\s{1,4}\w{1,60}\s?\(/ nocase
    $end = /\n\s{0,8}(endfunc|endif|wend|endswitch)\b/ nocase
    $variable = /\n\s{0,16}(local|global|dim)\s{1,4}(const\s{1,4})?\$\w{1,60}/ nocase
  condition:
    ($include and ($func or $variable or $end)) or ($directive and ($variable or $func)) or ($func and $end and $variable)
}

rule ducky_text {
  meta:
    type = "code/ducky"
    score = 6
  strings:
    $delay = /\n(DEFAULT_?DELAY|DELAY)\s{1,4}\d{1,6}\r?\n/
    $string = /\nSTRING(LN)?\s{1,4}[^\n]{1,400}/
    $key = /\n(GUI|WINDOWS|ENTER|CTRL|ALT|SHIFT|MENU|TAB|DOWNARROW|UPARROW)(\s|\r?\n)/
  condition:
    $delay and $string and $key
}
