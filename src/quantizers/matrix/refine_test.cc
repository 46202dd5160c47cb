#include <gtest/gtest.h>

#include "quantizers/matrix/problem.h"
#include "quantizers/matrix/test_support.h"

namespace narrow::quantizers {
namespace {

struct Prepared {
  std::vector<float> weight, hessian;
  base::ThreadPool pool{1};
  MatrixProblem problem;
  CodedMatrix coded;

  Prepared(std::int64_t rows, std::int64_t columns, const MatrixOptions& options)
      : weight(random_weight(rows, columns, 11)),
        hessian(statistics_of(random_inputs(2 * columns, columns, 12), columns).hessian),
        problem{weight.data(), rows, columns, hessian.data(), options, pool} {
    std::string note;
    MatrixProblem plain = problem;
    plain.options.search = false;
    EXPECT_TRUE(round_to_nearest(plain, coded, note));
  }

  double error() const {
    std::vector<float> values(weight.size());
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(values.size()); ++i) {
      const Grid& grid = coded.grids[static_cast<std::size_t>(i / problem.columns * problem.groups() + i % problem.columns / problem.options.group_size)];
      values[static_cast<std::size_t>(i)] = static_cast<float>(coded.codes[static_cast<std::size_t>(i)] - grid.zero) * grid.scale;
    }
    return output_error(weight, values, hessian, problem.columns);
  }
};

TEST(Refine, NeverRaisesTheErrorAndSettles) {
  for (const std::int64_t group : {8, 50, 128, 300}) {
    for (int bits : {2, 3, 4}) {
      Prepared p(70, 300, {.bits = bits, .group_size = group, .refine = 1});
      double before = p.error();
      for (int sweep = 0; sweep < 6; ++sweep) {
        ASSERT_TRUE(refine(p.problem, p.hessian, p.coded));
        const double after = p.error();
        EXPECT_LE(after, before * (1 + 1e-5)) << group << " " << bits;
        if (sweep == 0) {
          EXPECT_LT(after, 0.8 * before);
        }
        before = after;
      }
    }
  }
}

// Where it settles, no other value of a single code is better.
TEST(Refine, SettlesWhereNoSingleCodeHelps) {
  Prepared p(3, 40, {.bits = 3, .group_size = 16, .refine = 2});
  for (int round = 0; round < 25; ++round) ASSERT_TRUE(refine(p.problem, p.hessian, p.coded));
  const double settled = p.error();
  for (std::uint8_t& code : p.coded.codes) {
    const std::uint8_t before = code;
    for (int other = 0; other < 8; ++other) {
      code = static_cast<std::uint8_t>(other);
      EXPECT_GE(p.error(), settled * (1 - 1e-4));
    }
    code = before;
  }
  // Nor another scale.
  for (Grid& grid : p.coded.grids) {
    for (float factor : {0.99f, 1.01f}) {
      const Grid before = grid;
      grid.scale *= factor;
      EXPECT_GE(p.error(), settled * (1 - 1e-4));
      grid = before;
    }
  }
}

}  // namespace
}  // namespace narrow::quantizers
