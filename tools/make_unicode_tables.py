#!/usr/bin/env python3
"""Writes src/tokenizers/unicode_tables.cc: the character properties that tokenizers ask for.

    python3 tools/make_unicode_tables.py > src/tokenizers/unicode_tables.cc

Token ids must equal those of the `tokenizers` library, and that library takes its properties from several editions of
Unicode: categories from 8.0, decompositions and combining classes from 9.0, lower case from 17.0. Characters that came
later are left out of the first two; the editions of characters come from perl (5.30 or newer), everything else from
Python (3.11 or newer, Unicode 14).
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

# Lower case of characters newer than Python's table: first, last, step, distance.
LOWER_17 = [(0x1C89, 0x1C89, 1, 1), (0xA7CB, 0xA7CB, 1, 0x264 - 0xA7CB), (0xA7CC, 0xA7CC, 1, 1), (0xA7CE, 0xA7CE, 1, 1),
            (0xA7D2, 0xA7D2, 1, 1), (0xA7D4, 0xA7D4, 1, 1), (0xA7DA, 0xA7DA, 1, 1), (0xA7DC, 0xA7DC, 1, 0x19B - 0xA7DC),
            (0x10D50, 0x10D65, 1, 0x20), (0x16EA0, 0x16EB8, 1, 0x1B)]


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
    words = perl_set(r"\w")
    print_table("const Range kWord[]", [f"{{{a:#x}, {b:#x}}}" for a, b in ranges(lambda c: c in words)])
    print_table("const ClassRange kCombiningClass[]", [f"{{{a:#x}, {b:#x}, {k}}}" for a, b, k in class_ranges()])
    rows, pool = [], []
    for c, whole in decompositions():
        rows.append(f"{{{c:#x}, {len(pool)}, {len(whole)}}}")
        pool.extend(f"{ord(part):#x}" for part in whole)
    print_table("const Decomposition kDecompositions[]", rows)
    print_table("const char32_t kDecomposed[]", pool)
    print_table("const LowerRun kLower[]", [f"{{{a:#x}, {b:#x}, {s}, {d}}}" for a, b, s, d in lower_runs()])
    for name in ("kOther", "kMarkNonspacing", "kPunctuation", "kWord", "kCombiningClass", "kDecompositions", "kLower"):
        print(f"const std::size_t {name}Count = std::size({name});")
    print("\n}  // namespace narrow::tokenizers::tables")


if __name__ == "__main__":
    main()
