// Scenarios A and B as a SimGrid user writes them; prints CPU seconds and the answer. Needs SimGrid, not pyccl.
//
//     g++ -O2 simulator_simgrid.cc -lsimgrid -o peer && ./peer A 64
#include <simgrid/s4u.hpp>

#include <ctime>
#include <iostream>
#include <string>
#include <vector>

namespace sg4 = simgrid::s4u;

namespace {

constexpr double kRate = 12.5e9;

sg4::LinkInRoute up(const sg4::SplitDuplexLink* link) { return {link, sg4::LinkInRoute::Direction::UP}; }

/// One switch, to which every host has a full-duplex link of 1 us.
std::vector<sg4::Host*> star(int n) {
  auto* zone = sg4::create_star_zone("switch");
  std::vector<sg4::Host*> hosts;
  for (int i = 0; i < n; ++i) {
    const auto name = std::to_string(i);
    hosts.push_back(zone->create_host("host" + name, 1e9));
    const auto* link = zone->create_split_duplex_link("link" + name, kRate)->set_latency(1e-6)->seal();
    zone->add_route(hosts.back()->get_netpoint(), nullptr, nullptr, nullptr,
                    {up(dynamic_cast<const sg4::SplitDuplexLink*>(link))}, true);
  }
  zone->seal();
  return hosts;
}

void ring(int n) {
  const auto hosts = star(n);
  static int nothing = 0;
  for (int r = 0; r < n; ++r) {
    sg4::Actor::create("rank" + std::to_string(r), hosts[r], [r, n] {
      auto* to = sg4::Mailbox::by_name(std::to_string((r + 1) % n));
      auto* from = sg4::Mailbox::by_name(std::to_string(r));
      const auto bytes = static_cast<std::uint64_t>((64 << 20) / n);
      for (int step = 0; step < 2 * (n - 1); ++step) {
        const auto sent = to->put_async(&nothing, bytes);
        from->get<int>();
        sent->wait();
      }
    });
  }
}

/// All pushes share one link, all pulls the other.
void server(int n) {
  auto* zone = sg4::create_full_zone("pair");
  auto* workers = zone->create_host("workers", 1e9);
  auto* owner = zone->create_host("server", 1e9);
  const auto* link = zone->create_split_duplex_link("link", kRate)->set_latency(0)->seal();
  zone->add_route(workers->get_netpoint(), owner->get_netpoint(), nullptr, nullptr,
                  {up(dynamic_cast<const sg4::SplitDuplexLink*>(link))}, true);
  zone->seal();
  for (int i = 0; i < n; ++i) {
    sg4::Actor::create("worker" + std::to_string(i), workers, [i, workers, owner] {
      for (long k = 0; k < 10; ++k) {
        sg4::this_actor::sleep_for(0.1 + 0.2 * static_cast<double>((7919L * i + 104729L * k) % 1000) / 1000);
        sg4::Comm::sendto(workers, owner, 100'000'000);
        sg4::Comm::sendto(owner, workers, 100'000'000);
      }
    });
  }
}

}  // namespace

int main(int argc, char** argv) {
  sg4::Engine engine(&argc, argv);
  for (const char* plain : {"network/model:CM02", "network/bandwidth-factor:1", "network/latency-factor:1",
                            "network/weight-S:0", "network/crosstraffic:0", "network/TCP-gamma:0"}) {
    engine.set_config(plain);  // max-min fairness, and nothing else that the scenarios do not have
  }
  engine.set_config("contexts/stack-size:64");
  const clock_t begin = clock();
  const int n = std::stoi(argv[2]);
  std::string(argv[1]) == "A" ? ring(n) : server(n);
  engine.run();
  std::cout.precision(12);
  std::cout << R"({"seconds": )" << static_cast<double>(clock() - begin) / CLOCKS_PER_SEC << R"(, "answer": )"
            << sg4::Engine::get_clock() << "}\n";
}
