// A program that knows narrow by its installed package alone.
#include <narrow/result.h>

#include <cstdio>

int main() {
  const std::string said = narrow::not_found("no model").hint("give one").to_string();
  std::puts(said.c_str());
  return said.find("not found: no model") == 0 && said.find("hint: give one") != std::string::npos ? 0 : 1;
}
