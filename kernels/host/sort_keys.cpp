#include "kernels/host/sort_order.hpp"
#include "kernels/host/visit_dtype.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/host/sort_keys.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "kernels/host/simd_targets.hpp"

HWY_BEFORE_NAMESPACE();
namespace tessera::kernels::host {
namespace HWY_NAMESPACE {
namespace {

template <typename T>
HWY_ATTR bool make_keys_of(const T* __restrict in, std::int64_t n, KeyOrder order,
                           SortKey<T>* __restrict keys, SortKey<T> threshold) {
  using Key = SortKey<T>;
  constexpr int kSignShift = 8 * sizeof(Key) - 1;
  constexpr Key kSign = static_cast<Key>(Key{1} << kSignShift);
  const Key flip = order.flip ? kKeyMax<Key> : Key{0};
  const Key nan_key = order.nan_first ? Key{0} : kKeyMax<Key>;
  Key below = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    Key key;
    if constexpr (std::is_floating_point_v<T>) {
      // Adding zero makes -0.0 positive.
      const Key bits = __builtin_bit_cast(Key, in[i] + T{0});
      const Key negative =
          static_cast<Key>(static_cast<std::make_signed_t<Key>>(bits) >> kSignShift);
      key = bits ^ (negative | kSign) ^ flip;
      key = in[i] != in[i] ? nan_key : key;
    } else if constexpr (std::is_same_v<T, bool>) {
      key = static_cast<Key>((in[i] ? Key{1} : Key{0}) ^ flip);
    } else if constexpr (std::is_signed_v<T>) {
      key = static_cast<Key>(static_cast<Key>(in[i]) ^ kSign ^ flip);
    } else {
      key = static_cast<Key>(in[i] ^ flip);
    }
    keys[i] = key;
    below = static_cast<Key>(below | (key < threshold ? 1 : 0));
  }
  return below != 0;
}

HWY_ATTR bool make_keys_here(DType dtype, const void* in, std::int64_t n, KeyOrder order,
                             void* keys, std::uint64_t threshold) {
  return visit_real_dtype(dtype, "sort", [&]<typename T>(std::type_identity<T>) HWY_ATTR {
    using Key = SortKey<T>;
    return make_keys_of(static_cast<const T*>(in), n, order, static_cast<Key*>(keys),
                        static_cast<Key>(threshold));
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace tessera::kernels::host
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tessera::kernels::host {

HWY_EXPORT(make_keys_here);

bool make_keys(DType dtype, const void* in, std::int64_t n, KeyOrder order, void* keys,
               std::uint64_t threshold) {
  return HWY_DYNAMIC_DISPATCH(make_keys_here)(dtype, in, n, order, keys, threshold);
}

}  // namespace tessera::kernels::host
#endif
