package netns

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"

	"artemis.example/local/capture/netns/inside"
	"golang.org/x/sys/unix"
)

// memoryCheck is how often the node looks at what its pods take.
const memoryCheck = 500 * time.Millisecond

// watchMemory ends what was started in a pod and takes more memory than it may,
// all of it, as a kubelet does.
func (n *Node) watchMemory(ctx context.Context) {
	tick := time.NewTicker(memoryCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		taken, err := residentByStart()
		if err != nil {
			continue // no descriptor is left: next time
		}
		n.mu.Lock()
		for pid, pod := range n.started {
			pages, runs := taken[pid]
			if !runs {
				delete(n.started, pid)
				continue
			}
			if size := pages * os.Getpagesize(); size > inside.MaxMemory && unix.Kill(pid, unix.SIGKILL) == nil {
				fmt.Fprintf(os.Stderr, "artemis: pod %s took %d MiB of memory, more than the %d that it may: what "+
					"took it was killed\n",
					pod, size>>20, inside.MaxMemory>>20)
			}
		}
		n.mu.Unlock()
	}
}

// residentByStart returns the resident pages of each child of this process and all
// that descends from it. As process 1 of its namespace it sees no others.
func residentByStart() (map[int]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(-1)
	dir.Close()
	if err != nil {
		return nil, err
	}
	type process struct{ parent, pages int }
	all := map[int]process{}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // it ended
		}
		// proc_pid_stat(5): after the name in parentheses comes field 3; the parent is
		// field 4, the resident pages are field 24.
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) < 22 {
			continue
		}
		parent, err1 := strconv.Atoi(string(fields[1]))
		pages, err2 := strconv.Atoi(string(fields[21]))
		if err1 == nil && err2 == nil {
			all[pid] = process{parent, pages}
		}
	}
	self, sum := os.Getpid(), map[int]int{}
	for pid, p := range all {
		for top, parent := pid, p.parent; ; top, parent = parent, all[parent].parent {
			if parent == self {
				sum[top] += p.pages
			}
			if parent == self || parent == 0 {
				break
			}
		}
	}
	return sum, nil
}
