package cli

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// screen is our terminal while it shows one of a pod's.
type screen struct {
	in, out, shown *os.File
	saved          *unix.Termios
	resized        chan os.Signal
}

// newScreen puts our terminal into raw mode and keeps the size of the other.
func newScreen(in, out, shown *os.File) *screen {
	s := &screen{in: in, out: out, shown: shown, resized: make(chan os.Signal, 1)}
	if saved, err := unix.IoctlGetTermios(int(in.Fd()), unix.TCGETS); err == nil {
		s.saved = saved
		raw := *saved // as cfmakeraw(3)
		raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL |
			unix.IXON
		raw.Oflag &^= unix.OPOST
		raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
		raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
		raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
		_ = unix.IoctlSetTermios(int(in.Fd()), unix.TCSETS, &raw)
	}
	s.resize()
	signal.Notify(s.resized, syscall.SIGWINCH)
	go func() {
		for range s.resized {
			s.resize()
		}
	}()
	return s
}

func (s *screen) resize() {
	size, err := unix.IoctlGetWinsize(int(s.out.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return
	}
	if raw, err := s.shown.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, size) })
	}
}

// restore puts our terminal back as it was.
func (s *screen) restore() {
	signal.Stop(s.resized)
	if s.saved != nil {
		_ = unix.IoctlSetTermios(int(s.in.Fd()), unix.TCSETS, s.saved)
	}
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
