// Sums over blocks of rows that come in any order and are added in theirs, in double: the same bits for any number of threads.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

namespace softgrad {

template <class T>
class InOrder {
   public:
    // Totals of `size` numbers; as many sums as there are places may wait for their turn.
    InOrder(double *totals, std::int64_t size, std::int64_t places)
        : totals(totals), size(size), sums(places, std::vector<T>(size)), there(places, false) {}

    // Room for the sum of block k, as soon as there is.
    T *room(std::int64_t k) {
        std::unique_lock<std::mutex> lock(door);
        moved.wait(lock, [&] { return k < next + places(); });
        return sums[k % places()].data();
    }

    void hand_in(std::int64_t k) {
        const std::lock_guard<std::mutex> lock(door);
        there[k % places()] = true;
        for (; there[next % places()]; next++) {
            const T *sum = sums[next % places()].data();
            for (std::int64_t i = 0; i < size; i++) totals[i] = (next ? totals[i] : 0.0) + double(sum[i]);
            there[next % places()] = false;
        }
        moved.notify_all();
    }

   private:
    double *const totals;
    const std::int64_t size;
    std::int64_t next = 0;
    std::vector<std::vector<T>> sums;
    std::vector<bool> there;
    std::mutex door;
    std::condition_variable moved;

    std::int64_t places() const { return std::int64_t(sums.size()); }
};

}  // namespace softgrad
