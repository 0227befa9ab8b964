// Sums over blocks of rows that come in any order and are added in theirs, in double: the same bits for any number of threads.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace softgrad {

template <class T>
class InOrder {
   public:
    // Totals of `size` numbers; as many sums as there are places may wait for their turn. Memory is taken where a sum is written, no sooner:
    // clearing it for places that two blocks never used took a head of 256 x 768 x 100 longer than its work.
    InOrder(double *totals, std::int64_t size, std::int64_t places)
        : totals(totals), size(size), sums(new T[places * size]), there(places, false) {}

    // Room for the sum of block k, as soon as there is.
    T *room(std::int64_t k) {
        std::unique_lock<std::mutex> lock(door);
        moved.wait(lock, [&] { return k < next + places(); });
        return of(k);
    }

    void hand_in(std::int64_t k) {
        const std::lock_guard<std::mutex> lock(door);
        there[k % places()] = true;
        for (; there[next % places()]; next++) {
            const T *sum = of(next);
            for (std::int64_t i = 0; i < size; i++) totals[i] = (next ? totals[i] : 0.0) + double(sum[i]);
            there[next % places()] = false;
        }
        moved.notify_all();
    }

   private:
    double *const totals;
    const std::int64_t size;
    std::int64_t next = 0;
    const std::unique_ptr<T[]> sums;
    std::vector<bool> there;
    std::mutex door;
    std::condition_variable moved;

    std::int64_t places() const { return std::int64_t(there.size()); }
    T *of(std::int64_t k) const { return sums.get() + k % places() * size; }
};

}  // namespace softgrad
