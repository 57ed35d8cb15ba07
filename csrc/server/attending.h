// A client that waits does its own server's work.
#pragma once

#include "server/service.h"

namespace pyccl::server {

/// As long as it lives the server's thread rests.
class Attending {
 public:
  explicit Attending(Service* own) : own_(own) { attend(); }
  ~Attending() { leave(); }
  Attending(const Attending&) = delete;
  Attending& operator=(const Attending&) = delete;

  /// While the program is asked its server has its own thread.
  class Pause {
   public:
    explicit Pause(const Attending& from) : from_(from) { from_.leave(); }
    ~Pause() { from_.attend(); }
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;

   private:
    const Attending& from_;
  };

 private:
  void attend() const {
    if (own_ != nullptr) own_->attend();
  }
  void leave() const {
    if (own_ != nullptr) own_->leave_alone();
  }
  Service* own_;
};

}  // namespace pyccl::server
