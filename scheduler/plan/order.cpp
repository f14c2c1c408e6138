#include "scheduler/plan/order.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <set>

namespace tessera::scheduler {

namespace {

std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

}  // namespace

TaskOrder::TaskOrder(const Plan& plan, ProductRoom room) : plan_(&plan), room_(room) {
  std::vector<std::vector<Alignment>> alignments(plan.nodes.size());
  find_products();
  homes_.resize(plan.nodes.size(), {-1, {}});
  align_roots(alignments);
  for (std::size_t i = plan.nodes.size(); i-- > 0;) {
    if (plan.nodes[i].task_count > 0) align_inputs(static_cast<NodeIndex>(i), alignments);
  }
  compile(alignments);
  number_lanes();
}

// Results with the same task grid share a sweep, so that what they have in common is computed once
// and used by all of them while it is there.
void TaskOrder::align_roots(std::vector<std::vector<Alignment>>& alignments) {
  const auto add_root = [&](std::size_t i, int number) {
    const auto count = static_cast<int>(plan_->nodes[i].counts.size());
    Alignment lanes{number, {}};
    for (int d = 0; d < count; ++d) lanes.digits.push_back({d, 0, nullptr});
    move_home(static_cast<NodeIndex>(i), lanes);
    const Domain& domain = domains_[at(number)];
    Alignment root{number, {}};
    pad(root);
    if (domain.numbers.empty()) {
      for (int d = 0; d < count; ++d) root.digits[at(d)] = {d, 0, nullptr};
    } else {
      place_in_tiles(domain, root);
    }
    alignments[i].push_back(std::move(root));
  };
  // Tasks that read each other keep their order only in a sweep of their own before all others.
  for (std::size_t i = 0; i < plan_->nodes.size(); ++i) {
    if (!plan_->nodes[i].reads_itself) continue;
    add_domain(plan_->nodes[i].counts, nullptr);
    add_root(i, static_cast<int>(domains_.size()) - 1);
  }
  std::map<std::vector<std::int64_t>, std::vector<std::size_t>> roots;
  std::vector<const std::vector<std::int64_t>*> grids;  // in the order of their first roots
  for (std::size_t i = 0; i < plan_->nodes.size(); ++i) {
    const PlanNode& node = plan_->nodes[i];
    bool root = node.sink && !node.reads_itself;
    for (SlotIndex output : node.outputs) root = root || plan_->slots[at(output)].retained;
    if (!root) continue;
    const auto [it, fresh] = roots.try_emplace(node.counts);
    if (fresh) grids.push_back(&it->first);
    it->second.push_back(i);
  }
  for (const std::vector<std::int64_t>* grid : grids) {
    const Product* product = nullptr;
    for (const std::size_t i : roots[*grid]) {
      const Product* one = product_of(static_cast<NodeIndex>(i));
      if (product == nullptr && one != nullptr && one->grid == *grid) product = one;
    }
    add_domain(*grid, product);
    for (const std::size_t i : roots[*grid]) add_root(i, static_cast<int>(domains_.size()) - 1);
  }
}

// The digit that orders a stream of blocks within one task of its reader: a digit that stands at
// its last value for this reader anyway (siblings then share one pass over common inputs), else a
// new innermost one.
int TaskOrder::inner_digit(int domain, std::int64_t extent, const std::vector<Alignment>& reader,
                           bool links) {
  Domain& d = domains_[at(domain)];
  for (std::size_t s = d.outer; s < d.extents.size(); ++s) {
    if (d.extents[s] != extent) continue;
    bool free = links || std::find(d.links.begin(), d.links.end(), s) == d.links.end();
    for (const Alignment& a : reader) {
      if (a.domain != domain || s >= a.digits.size()) continue;
      const Digit& digit = a.digits[s];
      free = free && digit.axis < 0 && digit.constant == d.extents[s] - 1;
    }
    if (free) return static_cast<int>(s);
  }
  std::int64_t total = extent;
  for (std::int64_t e : d.extents) {
    if (__builtin_mul_overflow(total, std::max<std::int64_t>(e, 1), &total)) return -1;
  }
  if (total > kMaxPositions) return -1;
  d.extents.push_back(extent);
  return static_cast<int>(d.extents.size()) - 1;
}

// Whether what lies at coordinate `c` of a task axis comes before what lies at `d`, all else equal.
bool TaskOrder::stands_before(const Alignment& alignment, int axis, std::int64_t c,
                              std::int64_t d) {
  for (const Digit& digit : alignment.digits) {
    if (digit.axis == axis && digit.at(c) != digit.at(d)) return digit.at(c) < digit.at(d);
  }
  return false;
}

// Where the blocks stand that a node's tasks read, when the tasks stand along `from`. Of a mirrored
// read there are two such ways.
TaskOrder::Alignment TaskOrder::followed(NodeIndex index, std::size_t number, const Alignment& from,
                                         bool swapped,
                                         const std::vector<std::int64_t>& extents) const {
  const PlanNode& node = plan_->nodes[at(index)];
  const PlanInput& input = node.inputs[number];
  const std::vector<std::int64_t>& counts =
      plan_->nodes[at(plan_->slots[at(input.slot)].node)].counts;
  const SlotReader* reader = plan_->reader(input.slot, index, static_cast<std::int32_t>(number));
  Alignment to;
  to.domain = from.domain;
  for (std::size_t s = 0; s < from.digits.size(); ++s) {
    const Digit& digit = from.digits[s];
    // Blocks that this read leaves out but another one wants come last.
    const auto last = static_cast<std::int32_t>(extents[s] - 1);
    if (digit.axis < 0) {
      to.digits.push_back(digit);
      continue;
    }
    if (input.access.mirror) {
      std::vector<std::int32_t> table(at(counts[0]));
      for (std::int64_t t = 0; t < counts[0]; ++t) {
        const auto [i, j] = triangle_pair(t);
        table[at(t)] = digit.at((digit.axis == 0) != swapped ? i : j);
      }
      to.digits.push_back(
          {0, 0, std::make_shared<const std::vector<std::int32_t>>(std::move(table))});
      continue;
    }
    int input_axis = -1;
    for (std::size_t d = 0; d < input.access.links.size(); ++d) {
      if (input.access.links[d].task_axis == digit.axis) input_axis = static_cast<int>(d);
    }
    const std::vector<bool>& mask = node.wanted[at(digit.axis)];
    if (input_axis < 0) {
      std::int64_t first = -1;
      for (std::int64_t c = 0; c < node.counts[at(digit.axis)]; ++c) {
        if ((mask.empty() || mask[at(c)]) &&
            (first < 0 || stands_before(from, digit.axis, c, first)))
          first = c;
      }
      to.digits.push_back({-1, first < 0 ? last : digit.at(first), nullptr});
      continue;
    }
    const AxisMap& back = reader->links[at(digit.axis)].map;
    if (back.is_identity()) {
      to.digits.push_back({input_axis, 0, digit.table});
      continue;
    }
    std::vector<std::int32_t> table(at(counts[at(input_axis)]), last);
    for (std::int64_t c = 0; c < counts[at(input_axis)]; ++c) {
      const CoordSet set = back.of(c);
      if (set.count == 0) continue;
      std::int64_t first = set[0];
      for (std::int64_t s = 1; s < set.count; ++s) {
        if (stands_before(from, digit.axis, set[s], first)) first = set[s];
      }
      table[at(c)] = digit.at(first);
    }
    to.digits.push_back(
        {input_axis, 0, std::make_shared<const std::vector<std::int32_t>>(std::move(table))});
  }
  // Digits that tell no blocks apart make no lanes.
  for (Digit& digit : to.digits) {
    if (digit.axis < 0) continue;
    bool same = true;
    for (std::int64_t c = 1; c < counts[at(digit.axis)] && same; ++c)
      same = digit.at(c) == digit.at(0);
    if (same) digit = {-1, digit.at(0), nullptr};
  }
  return to;
}

std::uint64_t TaskOrder::lane_count(const Alignment& alignment) const {
  const std::vector<std::int64_t>& extents = domains_[at(alignment.domain)].lanes;
  std::uint64_t count = 1;
  for (std::size_t s = 0; s < extents.size(); ++s) {
    if (alignment.digits[s].axis >= 0) count *= static_cast<std::uint64_t>(extents[s]);
  }
  return count;
}

// Of several ways in which results need a node the one with the most lanes counts, and of those the
// first; whether another one puts all tasks earlier does not matter here.
void TaskOrder::move_home(NodeIndex node, const Alignment& alignment) {
  Alignment& home = homes_[at(node)];
  if (home.domain >= 0 && lane_count(alignment) <= lane_count(home)) return;
  home = alignment;
}

// A digit that an alignment does not have yet stands at its last value.
void TaskOrder::pad(Alignment& alignment) const {
  const Domain& domain = domains_[at(alignment.domain)];
  while (alignment.digits.size() < domain.extents.size()) {
    alignment.digits.push_back(
        {-1, static_cast<std::int32_t>(domain.extents[alignment.digits.size()] - 1), nullptr});
  }
}

// Where a node's tasks stand when each stands where the block does that it reads.
TaskOrder::Alignment TaskOrder::beside_input(NodeIndex index, const Alignment& from) const {
  const PlanNode& node = plan_->nodes[at(index)];
  const Access& access = node.inputs[0].access;
  Alignment to = followed(index, 0, from, false, domains_[at(from.domain)].extents);
  for (Digit& digit : to.digits) {
    if (digit.axis < 0) continue;
    const AxisLink& link = access.links[at(digit.axis)];
    if (link.task_axis < 0) {
      digit = {-1, digit.at(link.map.of(0)[0]), nullptr};
      continue;
    }
    std::vector<std::int32_t> table;
    for (std::int64_t c = 0; c < node.counts[at(link.task_axis)]; ++c)
      table.push_back(digit.at(link.map.of(c)[0]));
    digit = {link.task_axis, 0,
             std::make_shared<const std::vector<std::int32_t>>(std::move(table))};
  }
  return to;
}

// Blocks of the input that all stand at one place are told apart by inner digits, so that the tasks
// of one come before the next block is made.
void TaskOrder::move_to_input(NodeIndex index, std::vector<Alignment>& own) {
  const PlanNode& node = plan_->nodes[at(index)];
  const PlanInput& input = node.inputs[0];
  const std::vector<std::int64_t>& counts =
      plan_->nodes[at(plan_->slots[at(input.slot)].node)].counts;
  std::vector<Alignment> moved;
  for (const Alignment& a : own) {
    Alignment to = beside_input(index, a);
    pad(to);
    add_alignment(moved, std::move(to), domains_, node.counts);
  }
  own = std::move(moved);
  for (Alignment& a : own) {
    for (std::size_t d = 0; d < counts.size(); ++d) {
      const AxisLink& link = input.access.links[d];
      if (counts[d] < 2 || link.task_axis < 0) continue;
      std::vector<std::int32_t> blocks;
      std::set<std::vector<std::int32_t>> places;
      for (std::int64_t c = 0; c < node.counts[at(link.task_axis)]; ++c) {
        blocks.push_back(static_cast<std::int32_t>(link.map.of(c)[0]));
        std::vector<std::int32_t> place;
        for (const Digit& digit : a.digits) {
          if (digit.axis == link.task_axis) place.push_back(digit.at(c));
        }
        places.insert(std::move(place));
      }
      if (places.size() == at(counts[d])) continue;
      const int digit = inner_digit(a.domain, counts[d], own);
      if (digit < 0) continue;
      pad(a);
      a.digits[at(digit)] = {link.task_axis, 0,
                             std::make_shared<const std::vector<std::int32_t>>(std::move(blocks))};
    }
  }
}

void TaskOrder::align_inputs(NodeIndex index, std::vector<std::vector<Alignment>>& alignments) {
  const PlanNode& node = plan_->nodes[at(index)];
  std::vector<Alignment>& own = alignments[at(index)];
  Alignment& home = homes_[at(index)];
  if (node.follows_input) move_to_input(index, own);

  if (node.chain_axis >= 0) {
    // Links of a chain that nobody reads from outside stand where their chain's end stands; an
    // inner digit then orders them.
    const std::int64_t length = node.counts[at(node.chain_axis)];
    const std::vector<Alignment> before = own;
    const auto fill = [&](Alignment& a) {
      for (Digit& digit : a.digits) {
        if (digit.axis != node.chain_axis || !digit.table) continue;
        std::vector<std::int32_t> filled = *digit.table;
        for (std::int64_t k = length - 1; k-- > 0;) {
          if (!node.chain_start[at(k + 1)])
            filled[at(k)] = std::min(filled[at(k)], filled[at(k + 1)]);
        }
        digit.table = std::make_shared<const std::vector<std::int32_t>>(std::move(filled));
      }
    };
    fill(home);
    for (Alignment& a : own) {
      pad(a);
      fill(a);
      const int digit =
          length > 1 ? inner_digit(a.domain, length, before, !node.product.empty()) : -1;
      if (digit >= 0) {
        pad(a);
        a.digits[at(digit)] = {node.chain_axis, 0, nullptr};
      }
    }
  }

  for (std::size_t k = 0; k < node.inputs.size(); ++k) {
    const PlanInput& input = node.inputs[k];
    const NodeIndex producer = plan_->slots[at(input.slot)].node;
    if (plan_->nodes[at(producer)].reads_itself) continue;
    const std::vector<std::int64_t>& counts = plan_->nodes[at(producer)].counts;
    // Streams: which input axes have several blocks for one task.
    std::vector<std::int64_t> stream_lengths(counts.size(), 1);
    if (input.streamed) {
      reserve_links(index, input, own);
      for (std::size_t d = 0; d < counts.size(); ++d) {
        const AxisLink& link = input.access.links[d];
        for (std::int64_t c = 0; c < link.map.from_count(); ++c) {
          stream_lengths[d] = std::max(stream_lengths[d], link.map.of(c).count);
          if (link.map.is_all() || link.map.is_identity()) break;
        }
      }
    }
    for (std::size_t w = 0; w < own.size(); ++w) {
      pad(own[w]);
      std::vector<std::pair<std::size_t, int>> stream_digits;
      for (std::size_t d = 0; d < counts.size(); ++d) {
        if (stream_lengths[d] <= 1) continue;
        std::vector<Alignment> reader_now = own;
        // Digits given to an earlier axis of this very read are taken.
        for (const auto& [axis, digit] : stream_digits) {
          for (Alignment& a : reader_now) {
            if (a.domain == own[w].domain && at(digit) < a.digits.size())
              a.digits[at(digit)] = {0, 0, nullptr};
          }
        }
        const int digit = inner_digit(own[w].domain, stream_lengths[d], reader_now);
        if (digit >= 0) {
          stream_digits.push_back({d, digit});
          pad(own[w]);
        }
      }
      const Alignment& from = own[w];
      const int swaps = input.access.mirror ? 2 : 1;
      for (int swap = 0; swap < swaps; ++swap) {
        Alignment to = followed(index, k, from, swap == 1, domains_[at(from.domain)].extents);
        for (const auto& [axis, digit] : stream_digits) {
          const AxisLink& link = input.access.links[axis];
          std::vector<std::int32_t> table(at(counts[axis]),
                                          static_cast<std::int32_t>(stream_lengths[axis] - 1));
          for (std::int64_t c = 0; c < link.map.from_count(); ++c) {
            const CoordSet set = link.map.of(c);
            for (std::int64_t s = 0; s < set.count; ++s) {
              std::int32_t& place = table[at(set[s])];
              place = std::min(place, static_cast<std::int32_t>(s));
            }
          }
          to.digits[at(digit)] = {
              static_cast<int>(axis), 0,
              std::make_shared<const std::vector<std::int32_t>>(std::move(table))};
        }
        add_alignment(alignments[at(producer)], std::move(to), domains_, counts);
      }
    }
    move_home(producer, followed(index, k, home, false, domains_[at(home.domain)].lanes));
  }
}

void TaskOrder::compile(std::vector<std::vector<Alignment>>& alignments) {
  Position base = 0;
  for (Domain& domain : domains_) {
    domain.base = base;
    domain.weights.assign(domain.extents.size() + 1, 1);
    for (std::size_t s = domain.extents.size(); s-- > 0;) {
      domain.weights[s] = domain.weights[s + 1] *
                          static_cast<Position>(std::max<std::int64_t>(domain.extents[s], 1));
    }
    domain.positions = domain.weights[0];
    base += domain.positions;
    for (const std::int64_t count : domain.lanes)
      domain.tiles *= static_cast<Position>(std::max<std::int64_t>(count, 1));
    domain.weights.erase(domain.weights.begin());
  }
  for (std::size_t i = 0; i < alignments.size(); ++i) {
    const PlanNode& node = plan_->nodes[i];
    compiled_.push_back({static_cast<std::uint32_t>(node.counts.size()),
                         static_cast<std::uint32_t>(alignments[i].size()), constants_.size(),
                         weights_.size()});
    for (Alignment& a : alignments[i]) {
      pad(a);
      compile_alignment(a, node.counts);
    }
  }
  alignments_ = std::move(alignments);
}

void TaskOrder::compile_alignment(const Alignment& alignment,
                                  const std::vector<std::int64_t>& counts) {
  const Domain& domain = domains_[at(alignment.domain)];
  Position constant = domain.base;
  std::vector<Position> scales(counts.size(), 0);
  std::vector<std::vector<Position>> tables(counts.size());
  for (std::size_t s = 0; s < alignment.digits.size(); ++s) {
    const Digit& digit = alignment.digits[s];
    const Position weight = domain.weights[s];
    if (digit.axis < 0) {
      constant += weight * static_cast<Position>(digit.constant);
    } else if (!digit.table) {
      scales[at(digit.axis)] += weight;
    } else {
      std::vector<Position>& table = tables[at(digit.axis)];
      table.resize(at(counts[at(digit.axis)]));
      for (std::size_t c = 0; c < table.size(); ++c)
        table[c] += weight * static_cast<Position>(digit.at(static_cast<std::int64_t>(c)));
    }
  }
  constants_.push_back(constant);
  for (std::size_t d = 0; d < counts.size(); ++d) {
    AxisWeight weight{scales[d], nullptr};
    if (!tables[d].empty()) {
      for (std::size_t c = 0; c < tables[d].size(); ++c)
        tables[d][c] += scales[d] * static_cast<Position>(c);
      tables_.push_back(std::move(tables[d]));
      weight.table = tables_.back().data();
    }
    weights_.push_back(weight);
  }
}

Position TaskOrder::position(NodeIndex node, const std::int64_t* coords) const noexcept {
  const Compiled& compiled = compiled_[at(node)];
  Position best = kNever;
  for (std::size_t a = 0; a < compiled.alignments; ++a)
    best = std::min(best, position_along(compiled, a, coords));
  return best;
}

std::uint64_t TaskOrder::tile(Position position) const noexcept {
  std::uint64_t before = 0;
  for (const Domain& domain : domains_) {
    const Position place = position - domain.base;
    if (place >= domain.positions) {
      before += domain.tiles;
      continue;
    }
    if (domain.numbers.empty()) return before + place / (domain.positions / domain.tiles);
    Position tile = 0;
    for (const auto& [digit, factor] : domain.numbers) {
      tile +=
          factor * (place / domain.weights[digit] % static_cast<Position>(domain.extents[digit]));
    }
    return before + tile;
  }
  return before;
}

void TaskOrder::number_lanes() {
  lanes_.resize(homes_.size());
  for (std::size_t n = 0; n < homes_.size(); ++n) {
    const Alignment& home = homes_[n];
    if (home.domain < 0) continue;
    const Domain& domain = domains_[at(home.domain)];
    Lanes& lanes = lanes_[n];
    std::uint64_t outer = 0;
    for (std::size_t s = 0; s < home.digits.size(); ++s) {
      const Digit& digit = home.digits[s];
      if (digit.axis < 0 || domain.lanes[s] == 1) continue;
      outer |= std::uint64_t{1} << digit.axis;
      lanes.digits.push_back({digit.axis, domain.lanes[s], digit.table.get()});
      lanes.count *= static_cast<std::uint64_t>(domain.lanes[s]);
    }
    lanes.axes = ((std::uint64_t{1} << plan_->nodes[n].counts.size()) - 1) & ~outer;
  }
}

TaskOrder::Lane TaskOrder::lane(NodeIndex node, const std::int64_t* coords) const noexcept {
  const Lanes& lanes = lanes_[at(node)];
  std::uint64_t number = 0;
  for (const LaneDigit& digit : lanes.digits) {
    number = number * static_cast<std::uint64_t>(digit.extent) +
             static_cast<std::uint64_t>(digit.at(coords[digit.axis]));
  }
  return {number, lanes.count};
}

Position TaskOrder::next_reader_after(SlotIndex slot, const std::int64_t* coords, Position frontier,
                                      NodeIndex node) const {
  Position best = kNever;
  plan_->for_each_reader(slot, coords, [&](NodeIndex reader, const std::int64_t* at) {
    const Position p = position(reader, at);
    if (p < best && (p > frontier || (p == frontier && reader > node))) best = p;
  });
  return best;
}

}  // namespace tessera::scheduler
