import Glibc
import Support
import TestSupport
import Testing

@testable import ChatTemplates

/// What templates can say, case by case; expectations are jinja2 3.1.6's.
@Suite struct ChatTemplateTests {
    private static let variables: JSONValue =
        [
            "s": " Hello, World! ", "u": "Ünï 日本", "n": 7, "f": 2.5, "yes": true, "nil": nil, "l": [1, 2, 3],
            "m": ["role": "user", "content": "hi", "keys": 1],
            "ms": [["role": "user", "content": "a b"], ["role": "assistant", "content": "x", "tool": ["k": 1]]],
        ]

    private func render(_ template: String, now: Int = 0) throws -> String {
        try ChatTemplate(template, place: "t").render(Self.variables.object ?? JSONObject(), now: now)
    }

    @Test(arguments: [
        ("a  {%- if yes -%}  b  {%- endif -%}  c", "abc"), ("x\n  {% if yes %}\ny\n  {% endif %}\nz\n", "x\ny\nz"),
        ("a {%+ if yes %}b{% endif +%}\nc", "a b\nc"), ("a\n  {# note\n #}\nb", "a\nb"), ("a {#- n -#} b", "ab"),
        ("{{ s -}}  x", " Hello, World! x"),
        ("a\r\nb\rc", "a\nb\nc"), ("  {{ n }}", "  7"), ("  {% if yes %}x{% endif %}", "x"),
        ("{% if yes %}\n  {% if yes %}\nx\n  {%- endif %}\n  {% endif %}", "x"), ("{{ n }}  {% if yes %}x{% endif %}", "7  x"),
        ("{# n #}\n\t{% if yes %}x{% endif %}", "x"), ("{{ n -}}\n {% if yes %}x{% endif %}", "7x"), ("{#-#} a", " a"),
    ]) func `white space around tags goes as trim_blocks and lstrip_blocks say`(_ template: String, _ expected: String) throws {
        #expect(try render(template) == expected)
    }

    @Test(arguments: [
        ("1 + 2 * 3 - 4 // 3 % 2", "6"), ("7 / 2", "3.5"), ("-7 // 2", "-4"), ("-7 % 3", "2"), ("(1 + 2) ~ 3", "33"),
        ("'a' * 3", "aaa"),
        ("-n|abs", "7"), ("not 1 in l", "False"), ("4 not in l", "True"), ("1 < 2 <= 2 != 3", "True"), ("yes == 1", "True"),
        ("1 == 1.0", "True"), ("'a' < 'b'", "True"), ("nil or 'x'", "x"), ("'' and 1", ""), ("1 if yes", "1"), ("1 if no", ""),
        ("1 if no else 2 if no else 3", "3"), ("yes and not no", "True"), ("1.5 ~ nil ~ yes ~ no", "1.5NoneTrue"),
        ("10000000000000000.0", "1e+16"), ("9007199254740993 == 9007199254740992.0", "False"),
        ("9007199254740992 == 9007199254740992.0", "True"), ("9007199254740993 > 9007199254740992.0", "True"),
        ("9007199254740992.0 < 9007199254740993", "True"), ("9223372036854775807 < 9223372036854775808.0", "True"),
        ("-9223372036854775808.0 < -9223372036854775807", "True"), ("-1 < -0.5", "True"), ("-0.5 < 0", "True"),
        ("1 < 0.5", "False"), ("0.5 < 0", "False"),
    ]) func `operators are Python's`(_ expression: String, _ expected: String) throws {
        #expect(try render("{{ \(expression) }}") == expected)
    }

    @Test(arguments: [
        ("u|length", "6"), ("u[1]", "n"), ("u[-1]", "本"), ("u[::-1]", "本日 ïnÜ"), ("u|upper", "ÜNÏ 日本"),
        ("s.strip().split(', ')|tojson", #"["Hello", "World!"]"#),
        ("'a  b'.split()|tojson", #"["a", "b"]"#), ("'a-b-c'.rsplit('-', 1)|tojson", #"["a-b", "c"]"#),
        ("s|trim|replace('l', 'L')", "HeLLo, WorLd!"),
        ("'x'.join(['a', 'b'])", "axb"), ("'hi there'|title ~ 'ABC'|capitalize", "Hi ThereAbc"), ("'\\u00e9\\n\\\\'", "é\n\\"),
        ("'a' 'b'", "ab"),
        ("s.startswith((' H', 'x'))", "True"), ("u.find('日')", "4"), ("'e\\u0301' == '\\u00e9'", "False"),
        ("'aXbX'.strip('X')", "aXb"),
        ("m.content.text is defined", "False"), ("m.keys is defined", "True"), ("m['keys']", "1"),
        ("'a\\nb'.splitlines()|length", "2"), ("l|tojson(false, 1)", "[\n 1,\n 2,\n 3\n]"),
        ("m|tojson(none, none, none, true)", #"{"content": "hi", "keys": 1, "role": "user"}"#),
    ]) func `text is Python's`(_ expression: String, _ expected: String) throws {
        #expect(try render("{{ \(expression) }}").utf8.elementsEqual(expected.utf8))
    }

    @Test(arguments: [
        ("{% for x in l if x != 2 %}{{ loop.index }}{{ x }}{{ ',' if not loop.last }}{% endfor %}", "11,23"),
        ("{% for x in nothing %}a{% else %}none{% endfor %}", "none"),
        ("{% for x in l %}{% break %}{% else %}none{% endfor %}", "none"),
        ("{% for x in l %}{% continue %}{% else %}none{% endfor %}", "none"),
        ("{% for x in l %}{% if x == 3 %}{% break %}{% endif %}{{ x }}{% else %}none{% endfor %}", "12"),
        ("{{ 9999999999999998.0 }} {{ [-9999999999999998.0]|tojson }}", "9999999999999998.0 [-9999999999999998.0]"),
        ("{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}", "a1"),
        ("{% set x = 1 %}{% for y in l %}{% set x = y %}{% endfor %}{{ x }}", "1"),
        ("{% set ns = namespace(x=0) %}{% for y in l %}{% set ns.x = ns.x + y %}{% endfor %}{{ ns.x }}", "6"),
        (
            "{% for x in l %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% if x == 3 %}{% break %}{% endif %}{% endfor %}",
            "13"
        ),
        ("{% set a, b = 1, 2 %}{{ a + b }}", "3"),
        ("{% for x in range(7, 0, -3) %}{{ x }}{% endfor %}{{ range(0, 6, 3)|length }}{{ range(1, 0)|length }}", "74120"),
        ("{{ range(0, 1, 9223372036854775807)|join }}{{ range(0, -5, -9223372036854775807)|join }}", "00"),
        ("{% set x %} q {% endset %}[{{ x }}]", "[ q ]"),
        ("{% macro f(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}{{ f(3, b=4) }}{{ f() }}", "12342"),
        ("{% macro f() %}{{ x }}{% endmacro %}{% set x = 5 %}{{ f() }}", "5"),
        ("{% generation %}{% set x = 1 %}a{% endgeneration %}{{ x }}", "a"),
        ("{% if ms|selectattr('role', 'equalto', 'nobody') %}an iterator is true{% endif %}", "an iterator is true"),
        ("{{ ms|selectattr('role', 'equalto', 'user')|map(attribute='content')|join('/') }}", "a b"),
        ("{{ ms|map(attribute='tool.k')|last is defined }}", ""),
        (
            "{{ ms[0]|tojson }}{{ [1.5, none, true]|tojson(indent=2) }}",
            "{\"role\": \"user\", \"content\": \"a b\"}[\n  1.5,\n  null,\n  true\n]"
        ),
    ]) func `statements and filters do what Jinja's do`(_ template: String, _ expected: String) throws {
        // The last item of an iterator is asked for in vain in Jinja too.
        if template.contains("|last is") {
            #expect(throws: TemplateError.self) { try render(template) }
        } else {
            #expect(try render(template) == expected)
        }
    }

    @Test(arguments: [
        ("a\n{% include 'x' %}", 2, "include"), ("{% raw %}", 1, "raw"), ("{{ l }}", 1, "tojson"),
        ("\n\n{{ s|sort }}", 3, "'sort'"), ("{{ s is upper }}", 1, "'upper'"),
        ("{{ s.zfill(3) }}", 1, "zfill"), ("{{ l.append(1) }}", 1, "append"), ("{{ s.__class__ }}", 1, "__class__"),
        ("{{ nothing.x }}", 1, "nothing is undefined"),
        ("{{ lipsum() }}", 1, "lipsum"), ("{{ 2 ** 3 }}", 1, "**"), ("{{ '%s' % 1 }}", 1, "%"),
        ("{{ s|safe + 'x' }}", 1, "safe"), ("{{ s + 1 }}", 1, "a string"),
        ("{{ 'x' }", 1, "closes nothing"), ("{{ 'x' ; }}", 1, "no meaning"), ("{% for a, in l %}{% endfor %}", 1, "a name"),
        ("{% if yes %}", 1, "endif"), ("{{ 'x", 1, "no end"), ("{# x", 1, "no end"),
        ("{{ 0x1F }}", 1, "letters"),
        ("{{ raise_exception('No ' + 'way') }}", 1, "No way"), ("{% for x in l recursive %}{% endfor %}", 1, "recursive"),
        ("{% break %}", 1, "inside a loop"),
        ("{{ 1 // 0 }}", 1, "division"), ("{{ 9223372036854775807 + 1 }}", 1, "64 bits"),
        ("{{ range(1000000)|length }}", 1, "100000"), ("{{ f(*l) }}", 1, "'*'"),
        ("{% set m.x = 1 %}", 1, "namespace"), ("{{ m.items }}", 1, "a function"), ("{{ {1: 2} }}", 1, "key"),
        ("{{ 'Σ'|lower }}", 1, "letters"), ("{{ l|tojson(2) }}", 1, "ensure_ascii"),
        ("{{ l|tojson(separators=(',', ':')) }}", 1, "separators"), (#"{{ '\x-0' }}"#, 1, "is incomplete"),
    ]) func `what is not known is refused with its line`(_ template: String, _ line: Int, _ fragment: String) throws {
        let error = #expect(throws: TemplateError.self) { try render(template) }
        #expect(error?.line == line && error?.problem.contains(fragment) == true, "\(error?.description ?? "")")
        #expect(error?.exitCode == .data)
    }

    /// Each would run for years, fill the memory, or use up the stack.
    @Test(arguments: [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(x='xxxxxxxx') %}{% for a in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for a in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for a in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x == ns.x }}",
        "{% set ns = namespace(x=[1]) %}{% for a in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x|tojson }}",
        "{% set ns = namespace(x=[1]) %}{% for a in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x == ns.x }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ 'x' * 999999999999 }}",
        "{{ ('a' * 9999999).replace('a', 'b' * 9999) }}", "{% for a in range(99999) %}{{ 'x' * 9999 }}{% endfor %}",
        "{{ ('a' * 9999999).count('a' * 999999 ~ 'b') }}{% for a in range(9999) %}{{ ('a' * 9999999).find('b') }}{% endfor %}",
        "{{ 'a'|tojson(indent=9999999) }}", "{% set ns = namespace() %}{% set ns.x = ns %}",
    ]) func `a template that takes too much is stopped`(_ template: String) throws {
        let start = processorSeconds()
        #expect(throws: TemplateError.self) { try render(template) }
        #expect(processorSeconds() - start < 20)
    }

    @Test func `a template that is nested deeply is refused and not recursed into`() throws {
        let n = 100_000
        func times(_ text: String) -> String { String(repeating: text, count: n) }
        for template in [
            "{{ " + times("(") + "1" + times(")") + " }}", "{{ " + times("not ") + "1 }}", "{{ " + times("-") + "1 }}",
            "{{ x" + times(".a") + " }}",
            "{{ 1" + times(" + 1") + " }}", "{{ x" + times("|trim") + " }}", times("{% if x %}"),
            "{{ " + times("[") + times("]") + " }}",
            "{{ 1" + times(" if x else 1") + " }}", "{{ 1" + times(" if x") + " }}", "{{ 1" + times(" or 1") + " }}",
            "{{ x" + times("[0]") + " }}",
            "{{ x" + times(" is defined") + " }}", times("{% for x in y %}"),
        ] {
            #expect(throws: TemplateError.self) { try render(template) }
        }
        // What is as deep as is allowed renders.
        let deep = String(repeating: "(", count: 40) + "1" + String(repeating: ")", count: 40)
        #expect(try render("{{ \(deep) }}") == "1")
        #expect(try render("{{ 1" + String(repeating: " + 1", count: 100) + " }}") == "101")
        #expect(
            try render(String(repeating: "{% if yes %}", count: 90) + "x" + String(repeating: "{% endif %}", count: 90)) == "x")
    }

    /// Jinja's rule for a name that a body sets before it reads it, and no body around it knows.
    @Test(arguments: [
        ("{% for x in l %}{{ n }}{% endfor %}{% set n = 1 %}{{ n }}", "1"),
        ("{{ n }}{% for x in [1] %}{{ n }}{% endfor %}{% set n = 1 %}", "77"),
        ("{% set n %}{{ n }}{% endset %}[{{ n }}]", "[]"), ("{% if no %}{% set n = 1 %}{% endif %}{{ n }}", "7"),
        ("{% macro f() %}{{ n }}{% endmacro %}{{ f() }}{% if yes %}{% set n = 1 %}{% endif %}{{ f() }}", "71"),
        ("{% macro f() %}{{ n }}{% endmacro %}{{ f() }}{% set n = n + 1 %}{{ f() }}", "78"),
    ]) func `names have a value where Jinja gives them one`(_ template: String, _ expected: String) throws {
        #expect(try render(template) == expected)
    }

    @Test func `time is told in the format that is asked for`() throws {
        // Noon of June 15 in the middle of the time zones.
        let text = try render("{{ strftime_now('%d %B %Y, %%') }}", now: 1_718_452_800)
        #expect(text.hasSuffix(" June 2024, %") && (text.hasPrefix("15") || text.hasPrefix("16")))
    }
}

/// Seconds of a processor that this thread has taken, however long it has had to wait for one.
private func processorSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + 1e-9 * Double(time.tv_nsec)
}
