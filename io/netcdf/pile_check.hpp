#pragma once

#include <string>
#include <vector>

#include "io/netcdf/cf_decode.hpp"
#include "io/netcdf/netcdf_pile.hpp"

namespace tessera::io {

/// One file of a pile as it was found.
struct PileMember {
  std::string path;
  core::FileStatus status;
  /// Length along the concatenated dimension.
  std::int64_t extent = 1;
  /// Values of the concatenated dimension's coordinates, in the order of PileCheck::coordinates().
  std::vector<std::vector<double>> values;
};

/// Opens the files of a pile one after the other, compares each with the first and joins
/// coordinates. The constructor throws as NetcdfPile::open does.
class PileCheck {
 public:
  PileCheck(const core::FileSystem& file_system, const std::vector<std::string>& files,
            const std::string& variable, const PileOptions& options);

  /// As the first file has it.
  const NetcdfVariable& variable() const noexcept { return variable_; }
  int concat_axis() const noexcept { return concat_axis_; }
  const std::vector<PileMember>& members() const noexcept { return members_; }
  const std::vector<PileCoordinate>& coordinates() const noexcept { return coordinates_; }

 private:
  void choose_axis(const NetcdfFile& first, bool single, const std::string& wanted);
  void find_coordinates(const NetcdfFile& first);
  void add_coordinate(const NetcdfFile& first, const std::string& name);
  std::string compare(const NetcdfFile& file, PileMember& member) const;
  std::string compare_variable(const NetcdfVariable& other) const;
  std::string compare_coordinate(const NetcdfFile& file, const PileCoordinate& mine,
                                 PileMember& member) const;
  void order_by_time();
  void join_coordinates();
  bool is_concatenated(const PileCoordinate& coordinate) const;

  NetcdfVariable variable_;
  CfDecode decode_;
  bool compare_coordinates_;
  int concat_axis_ = -1;
  std::vector<PileMember> members_;
  std::vector<PileCoordinate> coordinates_;
};

}  // namespace tessera::io
