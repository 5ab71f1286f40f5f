// Threads for C++ sources that rmsprop/build.py compiles; each library has its own.

#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <thread>

namespace {

#ifdef __cpp_lib_atomic_wait

// Hands tasks 0 .. count - 1 to the caller and to threads that wait for them. Not OpenMP's pool: its
// threads spin at every barrier, and beside a busy neighbour the spinning thread keeps the core that the
// working one needs. Here a thread that sleeps through a whole job is not waited for, and one that waits
// for long gives its core away. After a fork, whose child has none of the threads, the caller does it all.
class ThreadPool {
 public:
  static ThreadPool& of(int num_threads) {
    static std::mutex mutex;
    static auto* pools = new std::map<int, ThreadPool*>;  // Never destroyed: its threads may outlive main.
    const std::lock_guard<std::mutex> lock(mutex);
    ThreadPool*& pool = (*pools)[num_threads];
    if (pool == nullptr) pool = new ThreadPool(num_threads);
    return *pool;
  }

  // f(task, thread) for every task; thread is below the number of threads.
  template <class F>
  void run(int count, const F& f) {
    if (num_threads_ == 1 || count <= 1) {
      for (int i = 0; i < count; ++i) f(i, 0);
      return;
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    call_ = [](const void* function, int task, int thread) { (*static_cast<const F*>(function))(task, thread); };
    function_ = &f;
    count_ = count;
    done_.store(0, std::memory_order_relaxed);
    const uint64_t job = (++epoch_ << 32) | static_cast<uint32_t>(count);
    job_.store(job, std::memory_order_release);
    if (sleeping_.load() > 0) job_.notify_all();
    work(0);
    for (int done; (done = done_.load(std::memory_order_acquire)) != count;) {
      if (!spin([&] { return done_.load(std::memory_order_acquire) != done; })) done_.wait(done);
    }
  }

 private:
  explicit ThreadPool(int num_threads) : num_threads_(num_threads) {
    for (int t = 1; t < num_threads; ++t) std::thread([this, t] { serve(t); }).detach();
  }

  // Takes tasks of the job of the moment until none is left; returns what job_ then was. A job has its
  // epoch in the upper half and the number of tasks nobody has taken in the lower. Whoever has taken
  // one keeps the job from ending, so that function_ stays valid until it is done.
  uint64_t work(int thread) {
    uint64_t job = job_.load(std::memory_order_acquire);
    while (static_cast<uint32_t>(job) != 0) {
      if (!job_.compare_exchange_weak(job, job - 1, std::memory_order_acq_rel)) continue;
      const int count = count_;
      call_(function_, count - static_cast<int>(static_cast<uint32_t>(job)), thread);
      if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 == count) done_.notify_one();
      job = job_.load(std::memory_order_acquire);
    }
    return job;
  }

  void serve(int thread) {
    for (;;) {
      const uint64_t seen = work(thread);
      if (spin([&] { return job_.load(std::memory_order_acquire) != seen; })) continue;
      sleeping_.fetch_add(1);
      job_.wait(seen);
      sleeping_.fetch_sub(1);
    }
  }

  // Waits for about the length of a pause between two jobs of an update; false if that was too short.
  template <class Condition>
  static bool spin(const Condition& condition) {
    for (int i = 0; i < 2000; ++i) {
      if (condition()) return true;
#if defined(__x86_64__) || defined(__i386__)
      __builtin_ia32_pause();
#endif
    }
    return false;
  }

  const int num_threads_;
  std::mutex mutex_;
  std::atomic<uint64_t> job_{0};
  std::atomic<int> done_{0}, sleeping_{0};
  uint64_t epoch_ = 0;
  void (*call_)(const void*, int, int) = nullptr;
  const void* function_ = nullptr;
  int count_ = 0;
};

#else

// A standard library from before C++20 (GCC 10 and older): the caller does everything.
class ThreadPool {
 public:
  static ThreadPool& of(int) {
    static ThreadPool pool;
    return pool;
  }

  template <class F>
  void run(int count, const F& f) {
    for (int i = 0; i < count; ++i) f(i, 0);
  }
};

#endif

}  // namespace
