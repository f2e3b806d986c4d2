import threading

import workers  # Departure: what the threads do instead of printing alone.


def worker(num):
    print(f"Worker {num}: {workers.work(num)} wrong\n", end="")  # Departure: real commands.


threads = []
for i in range(workers.THREADS):  # Departure: many threads instead of five.
    t = threading.Thread(target=worker, args=(i,))
    threads.append(t)
    t.start()

print("Together:", workers.together(threads))  # Departure: what they have counted together.
