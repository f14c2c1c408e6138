#pragma once

#include <cstddef>
#include <memory>

#include "kernels/cuda/kernel_cache.hpp"
#include "kernels/registry.hpp"
#include "kernels/specs.hpp"
#include "kernels/task_kernel.hpp"

// The CUDA kernels of the task descriptions in kernels/specs.hpp, one factory for each family that
// has them, beside what its largest task needs as scratch. registry_cuda.cpp lists them. A factory
// returns null for a description that its family has no kernel for; such a task runs the host's
// kernel between copies (staged.hpp).

namespace tessera::kernels::cuda {

// program_cuda.cpp
std::unique_ptr<TaskKernel> make_program_cuda(KernelCache& cache, const ProgramSpec& spec);
std::size_t program_scratch_cuda(const device::cuda::CudaSystem& system, const ProgramSpec& spec);

// merge_cuda.cpp, add_blocks_cuda.cpp, scan_cuda.cpp
std::unique_ptr<TaskKernel> make_merge_cuda(KernelCache& cache, const MergeSpec& spec);
std::size_t merge_scratch_cuda(const MergeSpec& spec);
std::unique_ptr<TaskKernel> make_add_blocks_cuda(KernelCache& cache, const AddBlocksSpec& spec);
std::unique_ptr<TaskKernel> make_scan_cuda(KernelCache& cache, const ScanSpec& spec);
std::size_t scan_scratch_cuda(const ScanSpec& spec);

// assemble_cuda.cpp, deliver_cuda.cpp
std::unique_ptr<TaskKernel> make_assemble_cuda(KernelCache& cache, const AssembleSpec& spec);
std::unique_ptr<TaskKernel> make_deliver_cuda(KernelCache& cache, const DeliverSpec& spec);
std::size_t deliver_scratch_cuda(const DeliverSpec& spec);
std::unique_ptr<TaskKernel> make_awaited_cuda();

// matmul_cuda.cpp
std::unique_ptr<TaskKernel> make_matmul_cuda(KernelCache& cache, const MatmulSpec& spec);
std::size_t matmul_scratch_cuda(const MatmulSpec& spec);

// factor_cuda.cpp: the block operations "qr", "svd" and "block_product". `system` says what
// workspace cuSOLVER asks for.
std::unique_ptr<TaskKernel> make_factor_cuda(KernelCache& cache, const BlockSpec& spec);
std::size_t factor_scratch_cuda(device::cuda::CudaSystem& system, const BlockSpec& spec);

// take_cuda.cpp: the block operations "take" and "reshape".
std::unique_ptr<TaskKernel> make_take_cuda(KernelCache& cache, const BlockSpec& spec);
std::size_t take_scratch_cuda(const BlockSpec& spec);

// sort_cuda.cpp: the block operations "sort" and "topk", but for complex numbers.
std::unique_ptr<TaskKernel> make_sort_cuda(KernelCache& cache, const BlockSpec& spec);
std::size_t sort_scratch_cuda(device::cuda::CudaSystem& system, const BlockSpec& spec);

// groupby_cuda.cpp: the block operations "groupby" and "groupby_merge".
std::unique_ptr<TaskKernel> make_groupby_cuda(KernelCache& cache, const BlockSpec& spec);
std::size_t groupby_scratch_cuda(const BlockSpec& spec);

// histogram_cuda.cpp: the block operation "histogram" without weights.
std::unique_ptr<TaskKernel> make_histogram_cuda(KernelCache& cache, const BlockSpec& spec);
std::size_t histogram_scratch_cuda(const BlockSpec& spec);

// selection_cuda.cpp: the block operations "searchsorted", but for complex numbers,
// "take_along_axis", "count_true" and "compress".
std::unique_ptr<TaskKernel> make_selection_cuda(KernelCache& cache, const BlockSpec& spec);
std::size_t selection_scratch_cuda(const BlockSpec& spec);

}  // namespace tessera::kernels::cuda
