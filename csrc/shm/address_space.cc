#include "shm/address_space.h"

#include <sys/mman.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace pyccl::shm {
namespace {

/// The head of an entry of /proc/self/smaps.
struct Area {
  std::uintptr_t begin = 0, end = 0, inode = 0;
  std::string access, path;
};

/// "7f00-7f10 rw-p 00000000 00:00 0   [heap]"; false for the other lines of an entry.
bool parse(const std::string& line, Area& area) {
  std::istringstream in(line);
  char dash = 0;
  std::string offset, device;
  in >> std::hex >> area.begin >> dash >> area.end;
  if (!in || dash != '-') return false;
  in >> area.access >> offset >> device >> std::dec >> area.inode;
  if (!in) return false;
  area.path.clear();
  std::getline(in >> std::ws, area.path);
  return true;
}

std::string refusal(const Area& a) {
  if (a.path.starts_with("/memfd:pyccl"))
    return "is registered already (close what register returned), or lies in an array of comm.empty";
  if (a.path.starts_with("/anon_hugepage") || a.path.starts_with("/memfd:hugetlb")) return "lies in hugetlb pages";
  const bool shared = a.path.starts_with("/dev/zero") || a.path.starts_with("/dev/shm/");  // Linux's names for it
  if (shared && a.access[3] == 's') return "is shared with other processes already";
  if (a.path.starts_with("/dev/")) return "is the memory of a device (" + a.path + ")";
  if (a.inode != 0) return "is backed by a file (" + a.path + ")";
  if (a.access[3] == 's') return "is shared with other processes already";
  if (a.access != "rw-p") return "lies in pages that are " + a.access + ", not readable and writable";
  if (!a.path.empty() && a.path != "[heap]" && !a.path.starts_with("[anon:")) return "lies in " + a.path;
  return "";
}

struct Flag {
  const char* name;  // in the line VmFlags, see Documentation/filesystems/proc.rst of Linux
  const char* refusal;
  int advice;  // to be given to the pages that take the place of these
};

constexpr Flag kFlags[] = {
    {"lo", "is locked in memory (mlock)", 0},
    {"ht", "lies in hugetlb pages", 0},
    {"io", "is the memory of a device", 0},
    {"pf", "is the memory of a device", 0},
    {"gd", "lies on a stack", 0},
    {"dc", "is not passed to children (MADV_DONTFORK), as memory pinned for a device is not", 0},
    {"wf", "is wiped in children (MADV_WIPEONFORK)", 0},
    {"um", "is watched by userfaultfd", 0},
    {"uw", "is watched by userfaultfd", 0},
    {"ui", "is watched by userfaultfd", 0},
    {"hg", nullptr, MADV_HUGEPAGE},
    {"nh", nullptr, MADV_NOHUGEPAGE},
    {"dd", nullptr, MADV_DONTDUMP},
};

std::vector<int> advice_of(const std::string& line) {
  std::istringstream in(line.substr(line.find(':') + 1));
  std::vector<int> advice;
  for (std::string word; in >> word;) {
    const auto* flag =
        std::find_if(std::begin(kFlags), std::end(kFlags), [&](const Flag& f) { return word == f.name; });
    if (flag == std::end(kFlags)) continue;
    if (flag->refusal) throw std::invalid_argument(flag->refusal);
    advice.push_back(flag->advice);
  }
  return advice;
}

}  // namespace

std::vector<Extent> private_extents(char* begin, char* end) {
  std::vector<Extent> found;
  if (begin >= end) return found;
  std::ifstream smaps("/proc/self/smaps");
  Area area;
  bool inside = false;
  char* known = begin;
  for (std::string line; std::getline(smaps, line);) {
    if (parse(line, area)) {
      char *first = reinterpret_cast<char*>(area.begin), *last = reinterpret_cast<char*>(area.end);
      inside = first < end && last > begin;
      if (first >= end) break;
      if (!inside) continue;
      if (const std::string why = refusal(area); !why.empty()) throw std::invalid_argument(why);
      if (first > known) throw std::invalid_argument("lies in memory that is not mapped");
      found.push_back({std::max(first, begin), std::min(last, end), {}});
      known = found.back().end;
    } else if (inside && line.starts_with("VmFlags:")) {
      found.back().advice = advice_of(line);
    }
  }
  if (known != end) throw std::invalid_argument("cannot be found in /proc/self/smaps");
  return found;
}

}  // namespace pyccl::shm
