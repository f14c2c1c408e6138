#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "core/job.hpp"
#include "tessera/error.hpp"

namespace tessera::core {
namespace {

std::map<std::string, std::string> variables;

Job parse(std::map<std::string, std::string> set) {
  variables = std::move(set);
  return parse_job([](const char* name) -> const char* {
    const auto it = variables.find(name);
    return it == variables.end() ? nullptr : it->second.c_str();
  });
}

std::string refusal(std::map<std::string, std::string> set) {
  try {
    parse(std::move(set));
  } catch (const InvalidArgument& e) {
    return e.what();
  }
  return "accepted";
}

const std::string kToken(64, '7');

TEST(Job, WithoutVariablesThereIsOneRank) {
  EXPECT_EQ(parse({}).ranks, 1);
  // Launchers' numbers say nothing of this library where nobody said where ranks meet.
  EXPECT_EQ(parse({{"OMPI_COMM_WORLD_RANK", "3"}, {"OMPI_COMM_WORLD_SIZE", "8"}}).ranks, 1);
  EXPECT_EQ(parse({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}}).ranks, 1);
  EXPECT_EQ(parse({{"RANK", "3"}, {"WORLD_SIZE", "8"}}).ranks, 1);
}

TEST(Job, ItsOwnVariablesComeFirst) {
  const Job job = parse({{"TESSERA_RANK", "2"},
                         {"TESSERA_WORLD_SIZE", "5"},
                         {"TESSERA_RENDEZVOUS", "node1:29400"},
                         {"RANK", "1"},
                         {"WORLD_SIZE", "9"},
                         {"MASTER_ADDR", "m"},
                         {"MASTER_PORT", "1"},
                         {"TESSERA_JOB_TOKEN", kToken},
                         {"TESSERA_RANK_TIMEOUT", "2.5"},
                         {"TESSERA_JOIN_TIMEOUT", "7"},
                         {"TESSERA_TRANSPORT", "tcp"}});
  EXPECT_EQ(job.rank, 2);
  EXPECT_EQ(job.ranks, 5);
  EXPECT_EQ(job.host, "node1");
  EXPECT_EQ(job.port, 29400);
  EXPECT_EQ(job.token, kToken);
  EXPECT_EQ(job.silence_s, 2.5);
  EXPECT_EQ(job.join_s, 7.0);
  EXPECT_EQ(job.carrier, Carrier::kTcp);
}

TEST(Job, LaunchersAreUnderstood) {
  const Job torch = parse(
      {{"RANK", "1"}, {"WORLD_SIZE", "4"}, {"MASTER_ADDR", "10.0.0.1"}, {"MASTER_PORT", "2900"}});
  EXPECT_EQ(torch.rank, 1);
  EXPECT_EQ(torch.ranks, 4);
  EXPECT_EQ(torch.host, "10.0.0.1");
  EXPECT_EQ(torch.port, 2900);
  for (const auto& [rank, size] : {std::pair{"SLURM_PROCID", "SLURM_NTASKS"},
                                   {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
                                   {"JOB_COMPLETION_INDEX", "TESSERA_WORLD_SIZE"},
                                   {"PMIX_RANK", "TESSERA_WORLD_SIZE"}}) {
    const Job job = parse({{rank, "6"}, {size, "8"}, {"TESSERA_RENDEZVOUS", "[fe80::1]:99"}});
    EXPECT_EQ(job.rank, 6) << rank;
    EXPECT_EQ(job.ranks, 8) << rank;
    EXPECT_EQ(job.host, "fe80::1");
    EXPECT_EQ(job.port, 99);
  }
}

TEST(Job, WhatCannotBeMeantIsNamed) {
  EXPECT_EQ(refusal({{"TESSERA_RANK", "0"}})
                .find("[TESSERA_WORLD_SIZE] a rank and the number of ranks are given together; "
                      "got TESSERA_RANK=0 alone"),
            0u);
  EXPECT_EQ(refusal({{"TESSERA_RANK", "4"}, {"TESSERA_WORLD_SIZE", "4"}}),
            "[TESSERA_RANK] the value is a whole number from 0 to 3; got \"4\"");
  EXPECT_EQ(refusal({{"TESSERA_RANK", "x"}, {"TESSERA_WORLD_SIZE", "4"}}),
            "[TESSERA_RANK] the value is a whole number from 0 to 3; got \"x\"");
  EXPECT_EQ(refusal({{"TESSERA_RANK", "0"}, {"TESSERA_WORLD_SIZE", "4"}})
                .find("[TESSERA_RENDEZVOUS] ranks must know"),
            0u);
  for (const char* place : {"node", ":5", "node:", "node:70000", "node:x"})
    EXPECT_EQ(refusal({{"TESSERA_RENDEZVOUS", place}}).find("[TESSERA_RENDEZVOUS]"), 0u) << place;
  EXPECT_EQ(
      refusal({{"TESSERA_RANK", "0"}, {"TESSERA_WORLD_SIZE", "1"}, {"TESSERA_JOB_TOKEN", "abc"}})
          .find("[TESSERA_JOB_TOKEN] a token has 64 hexadecimal digits; got 3 characters"),
      0u);
}

TEST(Job, RecoveryNeedsALauncherThatLetsTheOthersLive) {
  const std::map<std::string, std::string> own = {
      {"TESSERA_RANK", "0"}, {"TESSERA_WORLD_SIZE", "4"}, {"TESSERA_RENDEZVOUS", "node1:29400"}};
  const auto with = [&](std::map<std::string, std::string> more) {
    more.insert(own.begin(), own.end());
    return more;
  };
  EXPECT_FALSE(parse(with({})).recover);
  EXPECT_FALSE(parse(with({{"TESSERA_ON_RANK_LOSS", "fail"}})).recover);
  EXPECT_TRUE(parse(with({{"TESSERA_ON_RANK_LOSS", "recover"}})).recover);
  // Jobs whose ranks only PMIx knows say it, too.
  EXPECT_TRUE(parse({{"TESSERA_ON_RANK_LOSS", "recover"}}).recover);
  EXPECT_EQ(parse({{"TESSERA_RANK_TIMEOUT", "2.5"}}).silence_s, 2.5);
  EXPECT_EQ(refusal(with({{"TESSERA_ON_RANK_LOSS", "retry"}})),
            "[TESSERA_ON_RANK_LOSS] fail or recover; got \"retry\"; try fail");
  EXPECT_NE(refusal(with({{"TESSERA_ON_RANK_LOSS", "recover"}, {"OMPI_COMM_WORLD_RANK", "0"}}))
                .find("got mpirun; try mpirun --mca orte_enable_recovery 1"),
            std::string::npos);
  EXPECT_TRUE(parse(with({{"TESSERA_ON_RANK_LOSS", "recover"},
                          {"OMPI_COMM_WORLD_RANK", "0"},
                          {"OMPI_MCA_orte_enable_recovery", "1"}}))
                  .recover);
  EXPECT_NE(
      refusal({{"TESSERA_ON_RANK_LOSS", "recover"}, {"PMIX_RANK", "0"}, {"SLURM_PROCID", "0"}})
          .find("got srun with PMIx; try srun --mpi=none --kill-on-bad-exit=0"),
      std::string::npos);
  EXPECT_TRUE(parse(with({{"TESSERA_ON_RANK_LOSS", "recover"}, {"SLURM_PROCID", "0"}})).recover);
}

TEST(Job, ATokenFileIsItsOwnersAlone) {
  const std::filesystem::path file = std::filesystem::path(::testing::TempDir()) / "tessera_token";
  std::ofstream(file) << kToken << "\n";
  const std::map<std::string, std::string> set = {{"TESSERA_RANK", "0"},
                                                  {"TESSERA_WORLD_SIZE", "1"},
                                                  {"TESSERA_JOB_TOKEN_FILE", file.string()}};
  ::chmod(file.c_str(), 0644);
  EXPECT_EQ(refusal(set).find("[TESSERA_JOB_TOKEN_FILE] only its owner may read the file"), 0u);
  ::chmod(file.c_str(), 0600);
  EXPECT_EQ(parse(set).token, kToken);
  std::filesystem::remove(file);
  EXPECT_EQ(refusal(set).find("[TESSERA_JOB_TOKEN_FILE] the file must exist"), 0u);
}

}  // namespace
}  // namespace tessera::core
