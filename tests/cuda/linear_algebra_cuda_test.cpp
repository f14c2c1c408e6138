#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "array/block_attributes.hpp"
#include "array/node.hpp"
#include "kernels/specs.hpp"
#include "tessera/error.hpp"
#include "tests/cuda/block_task_fixture.hpp"

// Products and factorisations. The simulated machine computes them by the host's BLAS and LAPACK:
// what is tested is what they are given.

namespace tessera::kernels::cuda {
namespace {

using test::AlignedBytes;
using test::Machine;
using test::Random;
using test::StoredArray;
using test::TaskCase;
using test::TaskRunner;
using test::TestBlock;
using test::uniform;

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

const DType kMultiplied[] = {DType::kBool,    DType::kInt8,      DType::kUInt16,
                             DType::kInt32,   DType::kUInt64,    DType::kFloat32,
                             DType::kFloat64, DType::kComplex64, DType::kComplex128};

enum class Layout { kPlain, kTransposed, kFlipped };

// An operand (batch..., rows, columns) as it is stored: batch axes of extent 1 are broadcast over.
ArrayRead operand(Random& random, DType dtype, const Shape& batch,
                  const std::vector<AxisChunks>& batch_chunks, const AxisChunks& rows, int row_axis,
                  const AxisChunks& columns, int column_axis, Layout layout) {
  ArrayRead read;
  std::vector<AxisChunks> axes;
  for (std::size_t d = 0; d < batch.size(); ++d) {
    const bool broadcast = batch[d] > 1 && uniform(random, 0, 2) == 0;
    axes.push_back(broadcast ? AxisChunks::regular(1, 1) : batch_chunks[d]);
    read.read.push_back({broadcast ? -1 : static_cast<int>(d), 0, 1});
  }
  const std::int64_t step = layout == Layout::kFlipped ? -1 : 1;
  const auto add = [&](const AxisChunks& chunks, int axis) {
    axes.push_back(step > 0 ? chunks
                            : AxisChunks::regular(chunks.extent(),
                                                  std::max<std::int64_t>(1, chunks.extent())));
    read.read.push_back({axis, step > 0 ? 0 : chunks.extent() - 1, step});
  };
  if (layout != Layout::kTransposed) add(rows, row_axis);
  add(columns, column_axis);
  if (layout == Layout::kTransposed) add(rows, row_axis);
  read.grid = ChunkGrid(axes);
  read.dtype = dtype;
  return read;
}

void check_products(unsigned thread_order, int rounds) {
  Machine machine(std::size_t{64} << 20, thread_order);
  Random random(test::kBlockSeed + 20 + thread_order);
  for (int round = 0; round < rounds; ++round) {
    MatmulSpec spec;
    spec.dtype = kMultiplied[at(round) % std::size(kMultiplied)];
    Shape batch(at(uniform(random, 0, 2)));
    for (std::int64_t& extent : batch) extent = uniform(random, 1, 3);
    const std::int64_t m = uniform(random, 1, 90), n = uniform(random, 1, 90),
                       k = uniform(random, round % 11 == 0 ? 0 : 1, 50);
    std::vector<AxisChunks> axes;
    for (const std::int64_t extent : batch)
      axes.push_back(test::random_chunks(random, extent, extent));
    const std::vector<AxisChunks> batch_chunks = axes;
    axes.push_back(test::random_chunks(random, m, m));
    axes.push_back(test::random_chunks(random, n, n));
    spec.grid = ChunkGrid(axes);
    const int rank = spec.grid.rank();
    const AxisChunks a_k = test::random_chunks(random, k, std::max<std::int64_t>(1, k)),
                     b_k = test::random_chunks(random, k, std::max<std::int64_t>(1, k));
    spec.k_chunks = array::refine(a_k, b_k);
    const auto layout = [&] { return static_cast<Layout>(uniform(random, 0, 2)); };
    spec.a = operand(random, spec.dtype, batch, batch_chunks, axes[at(rank - 2)], rank - 2, a_k,
                     rank, layout());
    spec.b = operand(random, spec.dtype, batch, batch_chunks, b_k, rank, axes[at(rank - 1)],
                     rank - 1, layout());
    StoredArray a(spec.a.grid, spec.dtype), b(spec.b.grid, spec.dtype);
    a.fill_small(random);
    b.fill_small(random);
    axes.push_back(spec.k_chunks);
    const ChunkGrid space(axes);
    axes.back() = AxisChunks::regular(spec.k_chunks.count(), 1);
    const ChunkGrid slot(axes);
    for (std::int64_t block = 0; block < slot.block_count(); block += uniform(random, 1, 4)) {
      TaskCase task{.spec = spec, .block = block, .coords = slot.unlinear(block)};
      const TaskBox box = task_box(space, task.coords);
      if (k > 0) task.inputs = {{&a, {block_at(spec.a, box)}}, {&b, {block_at(spec.b, box)}}};
      task.outputs.emplace_back(slot, spec.dtype);
      StoredArray before(slot, spec.dtype);
      before.fill_small(random);
      task.chained = uniform(random, 0, 1) == 1;
      task.before.push_back(std::move(before.blocks[at(block)]));
      TaskRunner runner(task);
      EXPECT_EQ(runner.on_host(), runner.on_device(machine.system, *machine.registry))
          << spec.dtype << " round " << round << " block " << block << " of " << spec.grid << " k "
          << k;
    }
  }
}

TEST(MatmulCuda, MultipliesBlocksAsTheHostDoes) {
  check_products(0, 54);
  check_products(1, 18);
  check_products(77, 18);
}

// What a pair's block has room for beyond its elements is nobody's.
void expect_same_elements(const AlignedBytes& a, const AlignedBytes& b, std::size_t bytes) {
  EXPECT_EQ(std::memcmp(a.data(), b.data(), bytes), 0);
}

TEST(MatmulCuda, MultipliesPairsOfBlocksOfOneMatrix) {
  Machine machine;
  Random random(test::kBlockSeed + 21);
  for (const DType dtype : {DType::kInt32, DType::kFloat32, DType::kFloat64}) {
    MatmulSpec spec;
    spec.dtype = dtype;
    spec.pairs = true;
    const AxisChunks rows = AxisChunks::regular(75, 34), depth = AxisChunks::of({20, 9});
    spec.grid = ChunkGrid({rows, rows});
    spec.k_chunks = depth;
    const ChunkGrid stored({rows, depth});
    spec.a = {{{0, 0, 1}, {2, 0, 1}}, stored, dtype};
    spec.b = {{{1, 0, 1}, {2, 0, 1}}, stored, dtype};
    StoredArray x(stored, dtype);
    x.fill_small(random);
    const ChunkGrid slot({AxisChunks::regular(6 * 34 * 34, 34 * 34), AxisChunks::regular(2, 1)});
    const ChunkGrid space({rows, rows, depth});
    std::int64_t pair = 0;
    for (std::int64_t j = 0; j < 3; ++j) {
      for (std::int64_t i = 0; i <= j; ++i, ++pair) {
        std::vector<AlignedBytes> before;
        for (std::int64_t k = 0; k < 2; ++k) {
          TaskCase task{.spec = spec, .block = slot.linear({pair, k}), .coords = {pair, k}};
          const TaskBox box = task_box(space, BlockIndex{i, j, k});
          task.inputs = {{&x, {block_at(spec.a, box)}}, {&x, {block_at(spec.b, box)}}};
          task.outputs.emplace_back(slot, dtype);
          task.chained = k > 0;
          task.before = std::move(before);
          TaskRunner runner(task);
          before = runner.on_host();
          expect_same_elements(before[0], runner.on_device(machine.system, *machine.registry)[0],
                               at(rows.size(i) * rows.size(j)) * itemsize(dtype));
        }
      }
    }
  }
}

void check_diagonal(unsigned thread_order) {
  Machine machine(std::size_t{64} << 20, thread_order);
  Random random(test::kBlockSeed + 22);
  MatmulSpec spec;
  spec.dtype = DType::kFloat32;
  spec.pairs = true;
  const AxisChunks rows = AxisChunks::regular(70, 70), depth = AxisChunks::regular(40, 40);
  spec.grid = ChunkGrid({rows, rows});
  spec.k_chunks = depth;
  const ChunkGrid stored({rows, depth});
  spec.a = {{{0, 0, 1}, {2, 0, 1}}, stored, spec.dtype};
  spec.b = {{{1, 0, 1}, {2, 0, 1}}, stored, spec.dtype};
  StoredArray x(stored, spec.dtype);
  x.fill_normal<float>(random);
  TaskCase task{.spec = spec, .coords = {0, 0}, .inputs = {{&x, {0}}, {&x, {0}}}};
  task.outputs.emplace_back(ChunkGrid({rows, rows}), spec.dtype);
  // What stands above the diagonal does not count: it is written from below.
  StoredArray before(ChunkGrid({rows, rows}), spec.dtype);
  before.fill_normal<float>(random);
  task.chained = true;
  task.before.push_back(std::move(before.blocks[0]));
  const auto result = TaskRunner(task).on_device(machine.system, *machine.registry);
  const float* c = reinterpret_cast<const float*>(result[0].data());
  for (std::int64_t i = 0; i < 70; ++i) {
    for (std::int64_t j = 0; j < i; ++j) ASSERT_EQ(c[i * 70 + j], c[j * 70 + i]) << i << " " << j;
  }
}

TEST(MatmulCuda, BlocksOnTheDiagonalEqualTheirTransposes) {
  for (const unsigned thread_order : {0u, 1u, 77u}) check_diagonal(thread_order);
}

// Factorisations
// -------------------------------------------------------------------------------------------

template <typename T>
struct Matrix {
  std::int64_t rows, cols;
  const T* data;
  T operator()(std::int64_t i, std::int64_t j) const { return data[i * cols + j]; }
};

template <typename T>
using Real = decltype(std::abs(T{}));

template <typename T>
T conjugate(T x) {
  if constexpr (host::kIsComplex<T>) return std::conj(x);
  return x;
}

// Largest |x^H x - 1|, of rows of x where it is wide.
template <typename T>
Real<T> orthogonality_error(const Matrix<T>& x, bool by_rows) {
  Real<T> worst = 0;
  const std::int64_t count = by_rows ? x.rows : x.cols, length = by_rows ? x.cols : x.rows;
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) {
      T dot{0};
      for (std::int64_t l = 0; l < length; ++l)
        dot += by_rows ? conjugate(x(i, l)) * x(j, l) : conjugate(x(l, i)) * x(l, j);
      worst = std::max(worst, std::abs(dot - T(i == j ? 1 : 0)));
    }
  }
  return worst;
}

// Largest |a - left diag(scale) right|.
template <typename T>
Real<T> residual(const Matrix<T>& a, const Matrix<T>& left, const Real<T>* scale,
                 const Matrix<T>& right) {
  Real<T> worst = 0;
  for (std::int64_t i = 0; i < a.rows; ++i) {
    for (std::int64_t j = 0; j < a.cols; ++j) {
      T sum{0};
      for (std::int64_t l = 0; l < left.cols; ++l)
        sum += left(i, l) * (scale == nullptr ? Real<T>{1} : scale[l]) * right(l, j);
      worst = std::max(worst, std::abs(sum - a(i, j)));
    }
  }
  return worst;
}

template <typename T>
Matrix<T> matrix(std::int64_t rows, std::int64_t cols, const AlignedBytes& bytes) {
  return {rows, cols, reinterpret_cast<const T*>(bytes.data())};
}

const std::pair<std::int64_t, std::int64_t> kShapes[] = {{1, 1}, {17, 5}, {40, 40}, {6, 23},
                                                         {1, 9}, {9, 1},  {3, 0},   {0, 3}};

ChunkGrid grid_of(std::int64_t rows, std::int64_t cols) { return ChunkGrid::whole({rows, cols}); }

template <typename T>
void check_qr(Machine& machine, bool with_q) {
  Random random(test::kBlockSeed + 23);
  for (const auto& [m, n] : kShapes) {
    const std::int64_t k = std::min(m, n);
    StoredArray a(grid_of(m, n), dtype_of<T>);
    a.fill_normal<T>(random);
    auto attributes = std::make_shared<array::QrAttributes>();
    attributes->with_q = with_q;
    BlockSpec spec;
    spec.attributes = attributes;
    spec.inputs.push_back({a.grid, a.dtype, std::nullopt});
    TaskCase task{.spec = spec, .coords = {0, 0}, .inputs = {{&a, {0}}}};
    if (with_q) spec.outputs.push_back({grid_of(m, k), a.dtype, std::nullopt});
    spec.outputs.push_back({grid_of(k, n), a.dtype, std::nullopt});
    for (const BlockSpec::Io& out : spec.outputs) task.outputs.emplace_back(out.grid, out.dtype);
    TaskRunner runner(task);
    const auto result = runner.on_device(machine.system, *machine.registry);
    const auto expected = runner.on_host();
    const Real<T> bound =
        4 * std::numeric_limits<Real<T>>::epsilon() * static_cast<Real<T>>(m + n + 4);
    SCOPED_TRACE(::testing::Message() << dtype_of<T> << " " << m << " x " << n);
    const Matrix<T> r = matrix<T>(k, n, result.back()), host_r = matrix<T>(k, n, expected.back());
    for (std::int64_t i = 0; i < k; ++i) {
      for (std::int64_t j = 0; j < n; ++j) {
        if (j < i) {
          EXPECT_EQ(r(i, j), T{0});
        }
        // LAPACK's signs.
        EXPECT_LE(std::abs(r(i, j) - host_r(i, j)), 20 * bound);
      }
    }
    if (!with_q) continue;
    const Matrix<T> q = matrix<T>(m, k, result[0]);
    EXPECT_LE(orthogonality_error(q, false), bound);
    EXPECT_LE(residual(matrix<T>(m, n, a.blocks[0]), q, static_cast<const Real<T>*>(nullptr), r),
              10 * bound);
  }
}

TEST(FactorCuda, QrIsThatOfLapack) {
  Machine machine;
  for (const bool with_q : {true, false}) {
    check_qr<float>(machine, with_q);
    check_qr<double>(machine, with_q);
    check_qr<std::complex<float>>(machine, with_q);
    check_qr<std::complex<double>>(machine, with_q);
  }
}

template <typename T>
BlockSpec svd_spec(const StoredArray& a, bool with_vectors) {
  const std::int64_t m = a.grid.shape()[0], n = a.grid.shape()[1], k = std::min(m, n);
  auto attributes = std::make_shared<array::SvdAttributes>();
  attributes->with_vectors = with_vectors;
  BlockSpec spec;
  spec.attributes = attributes;
  spec.inputs.push_back({a.grid, a.dtype, std::nullopt});
  spec.outputs.push_back({grid_of(1, k), real_dtype(a.dtype), std::nullopt});
  if (with_vectors) {
    spec.outputs.push_back({grid_of(m, k), a.dtype, std::nullopt});
    spec.outputs.push_back({grid_of(k, n), a.dtype, std::nullopt});
  }
  return spec;
}

TaskCase svd_task(const BlockSpec& spec, const StoredArray& a) {
  TaskCase task{.spec = spec, .coords = {0, 0}, .inputs = {{&a, {0}}}};
  for (const BlockSpec::Io& out : spec.outputs) task.outputs.emplace_back(out.grid, out.dtype);
  return task;
}

template <typename T>
void check_svd(Machine& machine, bool with_vectors) {
  Random random(test::kBlockSeed + 24);
  for (const auto& [m, n] : kShapes) {
    const std::int64_t k = std::min(m, n);
    StoredArray a(grid_of(m, n), dtype_of<T>);
    a.fill_normal<T>(random);
    const BlockSpec spec = svd_spec<T>(a, with_vectors);
    const TaskCase task = svd_task(spec, a);
    TaskRunner runner(task);
    const auto result = runner.on_device(machine.system, *machine.registry);
    const auto expected = runner.on_host();
    const Real<T> bound =
        8 * std::numeric_limits<Real<T>>::epsilon() * static_cast<Real<T>>(m + n + 4);
    SCOPED_TRACE(::testing::Message() << dtype_of<T> << " " << m << " x " << n);
    const auto* s = reinterpret_cast<const Real<T>*>(result[0].data());
    const auto* host_s = reinterpret_cast<const Real<T>*>(expected[0].data());
    for (std::int64_t i = 0; i < k; ++i) EXPECT_LE(std::abs(s[i] - host_s[i]), 10 * bound);
    if (!with_vectors) continue;
    const Matrix<T> u = matrix<T>(m, k, result[1]), vt = matrix<T>(k, n, result[2]);
    EXPECT_LE(orthogonality_error(u, false), bound);
    EXPECT_LE(orthogonality_error(vt, true), bound);
    EXPECT_LE(residual(matrix<T>(m, n, a.blocks[0]), u, s, vt), 10 * bound);
  }
}

TEST(FactorCuda, SvdMultipliesBackToTheMatrix) {
  Machine machine;
  for (const bool with_vectors : {true, false}) {
    check_svd<float>(machine, with_vectors);
    check_svd<double>(machine, with_vectors);
    check_svd<std::complex<float>>(machine, with_vectors);
    check_svd<std::complex<double>>(machine, with_vectors);
  }
}

TEST(FactorCuda, SvdRefusesWhatIsNotFinite) {
  Machine machine;
  Random random(test::kBlockSeed + 25);
  for (const double bad :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    StoredArray a(grid_of(30, 20), DType::kFloat64);
    a.fill_normal<double>(random);
    reinterpret_cast<double*>(a.blocks[0].data())[417] = bad;
    const BlockSpec spec = svd_spec<double>(a, true);
    const TaskCase task = svd_task(spec, a);
    const auto text = [&](auto&& run) { return test::thrown_text<LibraryError>(run); };
    const std::string expected = text([&] { TaskRunner(task).on_host(); });
    EXPECT_EQ(text([&] { TaskRunner(task).on_device(machine.system, *machine.registry); }),
              expected);
  }
}

TEST(FactorCuda, BlockProductMultiplies) {
  Machine machine;
  Random random(test::kBlockSeed + 26);
  for (const DType dtype :
       {DType::kFloat32, DType::kFloat64, DType::kComplex64, DType::kComplex128}) {
    StoredArray a(ChunkGrid({AxisChunks::regular(21, 9), AxisChunks::regular(6, 6)}), dtype);
    StoredArray b(grid_of(6, 11), dtype);
    a.fill_small(random);
    b.fill_small(random);
    BlockSpec spec;
    spec.attributes = std::make_shared<array::BlockProductAttributes>();
    spec.inputs.push_back({a.grid, dtype, std::nullopt});
    spec.inputs.push_back({b.grid, dtype, std::nullopt});
    const ChunkGrid out({AxisChunks::regular(21, 9), AxisChunks::regular(11, 11)});
    spec.outputs.push_back({out, dtype, std::nullopt});
    for (std::int64_t block = 0; block < 3; ++block) {
      TaskCase task{
          .spec = spec, .block = block, .coords = {block, 0}, .inputs = {{&a, {block}}, {&b, {0}}}};
      task.outputs.emplace_back(out, dtype);
      TaskRunner runner(task);
      EXPECT_EQ(runner.on_host(), runner.on_device(machine.system, *machine.registry)) << dtype;
    }
  }
}

}  // namespace
}  // namespace tessera::kernels::cuda
