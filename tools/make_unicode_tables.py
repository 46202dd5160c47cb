#!/usr/bin/env python3
"""Writes src/tokenizers/unicode_tables.cc: the character properties that tokenizers ask for.

    python3 tools/make_unicode_tables.py > src/tokenizers/unicode_tables.cc

Token ids must equal those of the `tokenizers` library, and that library takes its properties from several editions of
Unicode: categories from 8.0, decompositions and combining classes from 9.0, lower case and numbers from 17.0, the
categories in patterns and the characters of words from 16.0, marks and scripts from 9.0. Characters that came later are left out of the first two; the editions of characters come from perl
(5.30 or newer), everything else from Python (3.11, Unicode 14) and the lists of what came later below.
"""
import subprocess
import unicodedata

ALL = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def perl_set(pattern):
    """Code points that match a regular expression of perl."""
    program = "no warnings; for my $c (0..0xD7FF, 0xE000..0x10FFFF) { print \"$c\\n\" if chr($c) =~ /%s/u }" % pattern
    return set(map(int, subprocess.run(["perl", "-CS", "-e", program], capture_output=True, text=True, check=True).stdout.split()))


UNICODE_8 = perl_set(r"\p{Present_In: 8.0}")
UNICODE_9 = perl_set(r"\p{Present_In: 9.0}")

# Categories that later editions changed, as Unicode 8.0 had them.
CATEGORIES_8 = {0x166D: "Po", 0x1734: "Mn", 0x1885: "Lo", 0x1886: "Lo", 0xA9BD: "Mc", 0x111C9: "Po"}

# The same for marks in Unicode 9.0.
MARKS_9 = {0x1CF2: True, 0x1CF3: True, 0x111C9: False}

# Lower case of characters newer than Python's table: first, last, step, distance.
LOWER_17 = [(0x1C89, 0x1C89, 1, 1), (0xA7CB, 0xA7CB, 1, 0x264 - 0xA7CB), (0xA7CC, 0xA7CC, 1, 1), (0xA7CE, 0xA7CE, 1, 1),
            (0xA7D2, 0xA7D2, 1, 1), (0xA7D4, 0xA7D4, 1, 1), (0xA7DA, 0xA7DA, 1, 1), (0xA7DC, 0xA7DC, 1, 0x19B - 0xA7DC),
            (0x10D50, 0x10D65, 1, 0x20), (0x16EA0, 0x16EB8, 1, 0x1B)]

# General categories that Unicode 15 and 16 added or changed.
CATEGORIES_16 = """
897:Mn CF3:Mc ECE:Mn 1B4E-1B4F:Po 1B7F:Po 1C89:Lu 1C8A:Ll 2427-2429:So 2FFC-2FFF:So 31E4-31E5:So 31EF:So
A7CB-A7CC:Lu A7CD:Ll A7DA:Lu A7DB:Ll A7DC:Lu 105C0-105F3:Lo 10D40-10D49:Nd 10D4A-10D4D:Lo 10D4E:Lm 10D4F:Lo
10D50-10D65:Lu 10D69-10D6D:Mn 10D6E:Pd 10D6F:Lm 10D70-10D85:Ll 10D8E-10D8F:Sm 10EC2-10EC4:Lo 10EFC-10EFF:Mn
1123F-11240:Lo 11241:Mn 11380-11389:Lo 1138B:Lo 1138E:Lo 11390-113B5:Lo 113B7:Lo 113B8-113BA:Mc 113BB-113C0:Mn
113C2:Mc 113C5:Mc 113C7-113CA:Mc 113CC-113CD:Mc 113CE:Mn 113CF:Mc 113D0:Mn 113D1:Lo 113D2:Mn 113D3:Lo 113D4-113D5:Po
113D7-113D8:Po 113E1-113E2:Mn 116D0-116E3:Nd 1171E:Mc 11B00-11B09:Po 11BC0-11BE0:Lo 11BE1:Po 11BF0-11BF9:Nd
11F00-11F01:Mn 11F02:Lo 11F03:Mc 11F04-11F10:Lo 11F12-11F33:Lo 11F34-11F35:Mc 11F36-11F3A:Mn 11F3E-11F3F:Mc 11F40:Mn
11F41:Mc 11F42:Mn 11F43-11F4F:Po 11F50-11F59:Nd 11F5A:Mn 1342F:Lo 13439-1343F:Cf 13440:Mn 13441-13446:Lo
13447-13455:Mn 13460-143FA:Lo 16100-1611D:Lo 1611E-16129:Mn 1612A-1612C:Mc 1612D-1612F:Mn 16130-16139:Nd
16D40-16D42:Lm 16D43-16D6A:Lo 16D6B-16D6C:Lm 16D6D-16D6F:Po 16D70-16D79:Nd 18CFF:Lo 1B132:Lo 1B155:Lo 1CC00-1CCEF:So
1CCF0-1CCF9:Nd 1CD00-1CEB3:So 1D2C0-1D2D3:No 1DF25-1DF2A:Ll 1E030-1E06D:Lm 1E08F:Mn 1E4D0-1E4EA:Lo 1E4EB:Lm
1E4EC-1E4EF:Mn 1E4F0-1E4F9:Nd 1E5D0-1E5ED:Lo 1E5EE-1E5EF:Mn 1E5F0:Lo 1E5F1-1E5FA:Nd 1E5FF:Po 1F6DC:So 1F774-1F776:So
1F77B-1F77F:So 1F7D9:So 1F8B2-1F8BB:So 1F8C0-1F8C1:So 1FA75-1FA77:So 1FA87-1FA89:So 1FA8F:So 1FAAD-1FAAF:So
1FABB-1FABF:So 1FAC6:So 1FACE-1FACF:So 1FADA-1FADC:So 1FADF:So 1FAE8-1FAE9:So 1FAF7-1FAF8:So 1FBCB-1FBEF:So 2B739:Lo
2EBF0-2EE5D:Lo 31350-323AF:Lo
"""

# Numbers that Unicode 17 added.
NUMBERS_17 = [(0x11DE0, 0x11DE9), (0x16FF4, 0x16FF6)]


# The same for scripts in Unicode 9.0; what ideographs stand beside in Japanese counts as theirs.
SCRIPTS_9 = {0x589: "Common", 0x61C: "Common", 0x953: "Devanagari", 0x954: "Devanagari", 0x30FC: "Han"}


def script_ranges():
    """Runs of characters of one script, numbered from 1; the blank, and what came later, has none."""
    program = 'use Unicode::UCD "prop_invmap"; my ($from, $name) = prop_invmap("Script"); print "$from->[$_] $name->[$_]\\n" for 0..$#$from;'
    rows = [line.split() for line in subprocess.run(["perl", "-e", program], capture_output=True, text=True, check=True).stdout.splitlines()]
    numbers, runs = {"Unknown": 0}, []
    for (first, name), (after, _) in zip(rows, rows[1:] + [["1114112", ""]]):
        for c in range(int(first), int(after)):
            own = SCRIPTS_9.get(c, "Han" if name in ("Hiragana", "Katakana") else name) if c in UNICODE_9 and c != 0x20 else "Unknown"
            number = numbers.setdefault(own, len(numbers))
            if number == 0:
                continue
            if runs and runs[-1][1] == c - 1 and runs[-1][2] == number:
                runs[-1][1] = c
            else:
                runs.append([c, c, number])
    return runs


def category(c):
    if c not in UNICODE_8:
        return "Cn"
    return CATEGORIES_8.get(c) or unicodedata.category(chr(c))


def ranges(keep):
    """[first, last] of the code points for which keep() is true."""
    found = []
    for c in ALL:
        if not keep(c):
            continue
        if found and found[-1][1] == c - 1:
            found[-1][1] = c
        else:
            found.append([c, c])
    return found


def class_ranges():
    found = []
    for c in ALL:
        value = unicodedata.combining(chr(c)) if c in UNICODE_9 else 0
        if value == 0:
            continue
        if found and found[-1][1] == c - 1 and found[-1][2] == value:
            found[-1][1] = c
        else:
            found.append([c, c, value])
    return found


def decompositions():
    """(character, its full canonical decomposition), Hangul syllables left out: they are computed."""
    for c in ALL:
        whole = unicodedata.normalize("NFD", chr(c))
        if c in UNICODE_9 and whole != chr(c) and not 0xAC00 <= c <= 0xD7A3:
            yield c, whole


def compatibility_decompositions():
    """(character, its full compatibility decomposition) where it is not the canonical one."""
    for c in ALL:
        whole = unicodedata.normalize("NFKD", chr(c))
        if c in UNICODE_9 and whole != unicodedata.normalize("NFD", chr(c)):
            yield c, whole


def compositions():
    """(first, second, what they compose to), Hangul left out."""
    for c in sorted(UNICODE_9):
        parts = unicodedata.decomposition(chr(c)).split()
        if len(parts) != 2 or parts[0].startswith("<"):
            continue
        first, second = (int(part, 16) for part in parts)
        if unicodedata.normalize("NFC", chr(first) + chr(second)) == chr(c):
            yield first, second, c


def later_categories():
    for row in CATEGORIES_16.split():
        span, name = row.split(":")
        first, _, last = span.partition("-")
        yield int(first, 16), int(last or first, 16), name


def is_number(c):
    return any(a <= c <= b for a, b in NUMBERS_17) or later_category(c, unicodedata.category(chr(c)))[0] == "N"


LATER = {c: name for first, last, name in later_categories() for c in range(first, last + 1)}


def later_category(c, otherwise):
    return LATER.get(c, otherwise)


def lower_runs():
    """Runs of characters one or two apart whose lower case lies at the same distance; U+0130 is left to the caller."""
    pairs = {c: ord(chr(c).lower()) - c for c in ALL if len(chr(c).lower()) == 1 and chr(c).lower() != chr(c)}
    for first, last, step, distance in LOWER_17:
        for c in range(first, last + 1, step):
            pairs.setdefault(c, distance)
    runs = []
    for c in sorted(pairs):
        distance = pairs[c]
        if runs and runs[-1][3] == distance:
            first, last, step, _ = runs[-1]
            if c - last in (1, 2) and (first == last or c - last == step):
                runs[-1][1:3] = c, c - last
                continue
        runs.append([c, c, 1, distance])
    return runs


def print_table(declaration, rows):
    print(f"{declaration} = {{")
    line = "   "
    for row in rows:
        if len(line) + len(row) > 117:
            print(line)
            line = "   "
        line += f" {row},"
    print(line)
    print("};\n")


def main():
    print("// Written by tools/make_unicode_tables.py; do not edit.")
    print('#include "tokenizers/unicode_tables.h"\n')
    print("namespace narrow::tokenizers::tables {\n")
    for name, keep in (("kOther", lambda c: category(c) in ("Cc", "Cf", "Co")),
                       ("kMarkNonspacing", lambda c: category(c) == "Mn"),
                       ("kPunctuation", lambda c: category(c)[0] == "P")):
        print_table(f"const Range {name}[]", [f"{{{a:#x}, {b:#x}}}" for a, b in ranges(keep)])
    marks = {c for c in UNICODE_9 if MARKS_9.get(c, unicodedata.category(chr(c))[0] == "M")}
    print_table("const Range kMark[]", [f"{{{a:#x}, {b:#x}}}" for a, b in ranges(lambda c: c in marks)])
    words = perl_set(r"\w") | {c for c, name in LATER.items() if name[0] in "LM" or name in ("Nd", "Nl", "Pc")}
    print_table("const Range kNumber[]", [f"{{{a:#x}, {b:#x}}}" for a, b in ranges(is_number)])
    print_table("const Range kWord[]", [f"{{{a:#x}, {b:#x}}}" for a, b in ranges(lambda c: c in words)])
    print_table("const ClassRange kCombiningClass[]", [f"{{{a:#x}, {b:#x}, {k}}}" for a, b, k in class_ranges()])
    rows, pool = [], []
    for c, whole in decompositions():
        rows.append(f"{{{c:#x}, {len(pool)}, {len(whole)}}}")
        pool.extend(f"{ord(part):#x}" for part in whole)
    print_table("const Decomposition kDecompositions[]", rows)
    print_table("const char32_t kDecomposed[]", pool)
    rows, pool = [], []
    for c, whole in compatibility_decompositions():
        rows.append(f"{{{c:#x}, {len(pool)}, {len(whole)}}}")
        pool.extend(f"{ord(part):#x}" for part in whole)
    print_table("const Decomposition kCompatibilityDecompositions[]", rows)
    print_table("const char32_t kCompatibilityDecomposed[]", pool)
    print_table("const Composition kCompositions[]", [f"{{{a:#x}, {b:#x}, {c:#x}}}" for a, b, c in sorted(compositions())])
    print_table("const CategoryRange kLaterCategories[]", [f"{{{a:#x}, {b:#x}, \"{k}\"}}" for a, b, k in later_categories()])
    print_table("const LowerRun kLower[]", [f"{{{a:#x}, {b:#x}, {s}, {d}}}" for a, b, s, d in lower_runs()])
    print_table("const ScriptRange kScripts[]", [f"{{{a:#x}, {b:#x}, {k}}}" for a, b, k in script_ranges()])
    for name in ("kOther", "kMark", "kMarkNonspacing", "kPunctuation", "kNumber", "kWord", "kCombiningClass", "kDecompositions",
                 "kCompatibilityDecompositions", "kCompositions", "kLaterCategories", "kLower", "kScripts"):
        print(f"const std::size_t {name}Count = std::size({name});")
    print("\n}  // namespace narrow::tokenizers::tables")


if __name__ == "__main__":
    main()
