// The threads that share the rows of one compiled call. Work of a millisecond is too short for threads that have to be woken: that takes
// 0.05 ms, and a thread that was asleep may be put on the caller's own processor for a while. So helpers wait actively for SPIN after
// their work, and fall asleep then. No OpenMP: `threads.py` says why.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace softgrad {

class Pool {
   public:
    // part(k) for every k < count, on at most `threads` threads, of which the caller is one. A second caller at the same time is not
    // helped. What a part throws, the caller gets when all have ended.
    template <class F> void operator()(std::int64_t count, int threads, F part) {
        const int wanted = int(threads < count ? threads : count) - 1;
        if (wanted < 1 || !mine.try_lock()) {
            for (std::int64_t k = 0; k < count; k++) part(k);
            return;
        }
        hire(wanted);
        what = &part;
        run = [](void *what, std::int64_t k) { (*static_cast<F *>(what))(k); };
        this->count = count;
        next = 0;
        seats = wanted;
        door.fetch_and(~CLOSED);
        calls.fetch_add(1);
        for (int i = 0; i < wanted; i++) calls.notify_one();
        work();
        for (int seen = door.fetch_or(CLOSED) | CLOSED; seen != CLOSED; seen = door.load()) leave_alone(door, seen);
        const std::exception_ptr thrown = std::exchange(failed, nullptr);
        mine.unlock();
        if (thrown) std::rethrow_exception(thrown);
    }

   private:
    static constexpr int CLOSED = 1 << 30;
    static constexpr auto SPIN = std::chrono::microseconds(200);

    std::mutex mine, failing;
    std::exception_ptr failed;
    int hired = 0;
    void (*run)(void *, std::int64_t);
    void *what;
    std::int64_t count;
    std::atomic<int> seats;
    alignas(64) std::atomic<std::int64_t> next;
    alignas(64) std::atomic<int> door{CLOSED};  // how many helpers are inside
    alignas(64) std::atomic<std::uint32_t> calls{0};

    void hire(int wanted) {
        try {
            for (; hired < wanted; hired++) std::thread([this] { help(); }).detach();
        } catch (const std::system_error &) {   // no more threads to be had: those that are there do it
        }
    }

    void work() {
        for (std::int64_t k; (k = next.fetch_add(1, std::memory_order_relaxed)) < count;) try {
                run(what, k);
            } catch (...) {
                const std::lock_guard<std::mutex> lock(failing);
                failed = std::current_exception();
            }
    }

    // What a call consists of is read behind the open door only, where the caller waits for whoever is inside.
    void help() {
        for (std::uint32_t seen = 0;;) {
            leave_alone(calls, seen);
            seen = calls.load();
            if (const int before = door.fetch_add(1); before < seats.load()) work();
            if (door.fetch_sub(1) == CLOSED + 1) door.notify_one();
        }
    }

    // Until it is no longer what was seen.
    template <class N> static void leave_alone(const std::atomic<N> &it, N seen) {
        const auto begin = std::chrono::steady_clock::now();
        while (it.load() == seen) {
            for (int i = 0; i < 32 && it.load(std::memory_order_relaxed) == seen; i++) rest();
            if (std::chrono::steady_clock::now() - begin > SPIN) {
                it.wait(seen);
                return;
            }
        }
    }

    static void rest() {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ __volatile__("yield");
#endif
    }
};

// Never deleted: helpers sleep in it when the process ends, and a fork leaves a child that has none of them, but what they held.
inline std::atomic<Pool *> pool{new Pool};

}  // namespace softgrad
