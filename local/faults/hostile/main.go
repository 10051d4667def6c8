//go:build linux

// Command hostile is a program in a pod that uses up whatever it can get: the fault
// suite runs it with `artemis exec` and looks at what it costs others. It goes on
// until it is killed.
package main

import (
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// deeds is what there is, by name. All but the last two never return.
var deeds = map[string]func(args []string){
	"name server":  func([]string) { holdAll("10.96.0.10:53", nil) },
	"questions":    func([]string) { ask("10.96.0.10:53") },
	"handshakes":   func(a []string) { holdAll(a[0], []byte{0x16, 3, 1, 2, 0, 1}) }, // the beginning of a ClientHello
	"half calls":   func(a []string) { holdAll(a[0], []byte("GET / HTTP/1.1\r\nHost: x\r\nX: ")) },
	"new calls":    func(a []string) { dialAll(a[0]) },
	"processes":    func([]string) { fork() },
	"threads":      func([]string) { threads() },
	"memory":       func([]string) { eat() },
	"files":        func([]string) { fill() },
	"descriptors":  func([]string) { open() },
	"epoll":        func([]string) { watch() },
	"other's proc": func([]string) { scribble() },
	"spin":         func([]string) { spin() },
}

func main() {
	if len(os.Args) < 2 || deeds[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "hostile: one of", slices.Sorted(maps.Keys(deeds)))
		os.Exit(2)
	}
	deeds[os.Args[1]](os.Args[2:])
	select {}
}

// holdAll opens connections without end, says a little on each and keeps them.
func holdAll(addr string, hello []byte) {
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			var held []net.Conn
			for {
				c, err := net.DialTimeout("tcp4", addr, 2*time.Second)
				if err != nil { // full here or there: as soon as there is room
					time.Sleep(time.Millisecond)
					continue
				}
				_, _ = c.Write(hello)
				//lint:ignore SA4010 what is held is not closed by the garbage collector
				held = append(held, c)
			}
		})
	}
	all.Wait()
}

// dialAll opens connections and closes them, as fast as it can.
func dialAll(addr string) {
	for range 16 {
		go func() {
			for {
				if c, err := net.DialTimeout("tcp4", addr, 2*time.Second); err == nil {
					c.Close()
				}
			}
		}()
	}
}

// ask sends a question for a name, over and over.
func ask(addr string) {
	question := append([]byte{1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0},
		"\x0cguidance-nav\x03svc\x07cluster\x05local\x00\x00\x01\x00\x01"...)
	for range 16 {
		go func() {
			for {
				if c, err := net.Dial("udp4", addr); err == nil {
					for range 1000 {
						_, _ = c.Write(question)
					}
					c.Close()
				}
			}
		}()
	}
}

// fork starts processes that each spin, as many as it may.
func fork() {
	for {
		if err := exec.Command("/proc/self/exe", "spin").Start(); err != nil {
			time.Sleep(time.Millisecond)
		}
	}
}

func threads() {
	for range 10_000 {
		go func() {
			var p [2]int
			if unix.Pipe(p[:]) == nil {
				_, _ = unix.Read(p[0], make([]byte, 1)) // a thread is blocked in it
			}
		}()
	}
}

func spin() {
	//lint:ignore SA5002 that is what it is for
	for {
	}
}

// eat takes memory in processes of 200 MiB, again when they were killed.
func eat() {
	if len(os.Args) > 2 {
		b, err := unix.Mmap(-1, 0, 200<<20, unix.PROT_READ|unix.PROT_WRITE,
			unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
		if err != nil || len(b) == 0 {
			os.Exit(1)
		}
		select {}
	}
	for {
		if err := exec.Command("/proc/self/exe", "memory", "here").Start(); err != nil {
			time.Sleep(time.Millisecond)
		}
	}
}

// fill writes wherever it may until it may not.
func fill() {
	for _, dir := range []string{"/tmp", "/run", "/dev/shm", "/var/tmp", "/"} {
		for i := range 100_000 {
			if os.WriteFile(fmt.Sprint(dir, "/", i), make([]byte, 1<<20), 0o600) != nil {
				break
			}
		}
	}
}

// open takes descriptors in many processes.
func open() {
	if len(os.Args) > 2 {
		for {
			var p [2]int
			if unix.Pipe(p[:]) != nil {
				break
			}
			_, _ = unix.FcntlInt(uintptr(p[1]), unix.F_SETPIPE_SZ, 1<<20)
		}
		select {}
	}
	for range 200 {
		_ = exec.Command("/proc/self/exe", "descriptors", "here").Start()
	}
}

// watch takes what a user may have of epoll's watches (epoll(7),
// /proc/sys/fs/epoll/max_user_watches).
func watch() {
	for range 50 {
		_ = exec.Command("/proc/self/exe", "epoll", "here").Start()
	}
	var polls, files []int
	for range 1800 {
		if fd, err := unix.EpollCreate1(0); err == nil {
			polls = append(polls, fd)
		}
		if fd, err := unix.Eventfd(0, 0); err == nil {
			files = append(files, fd)
		}
	}
	for _, p := range polls {
		for _, f := range files {
			if unix.EpollCtl(p, unix.EPOLL_CTL_ADD, f, &unix.EpollEvent{Events: unix.EPOLLIN}) != nil {
				break
			}
		}
	}
}

// scribble writes to the /proc of every process that it sees.
func scribble() {
	for {
		entries, _ := os.ReadDir("/proc")
		for _, e := range entries {
			for file, text := range map[string]string{"autogroup": "19", "oom_score_adj": "1000",
				"coredump_filter": "0", "comm": "x"} {
				_ = os.WriteFile("/proc/"+e.Name()+"/"+file, []byte(text), 0)
			}
		}
		for _, file := range []string{"/proc/sysrq-trigger", "/proc/sys/kernel/pid_max", "/proc/sys/vm/drop_caches"} {
			_ = os.WriteFile(file, []byte("1"), 0)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
