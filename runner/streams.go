//go:build linux

package runner

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// sink is one who watches a container's output. An error removes it; errUnread
// ends the stream.
type sink func(stream byte, p []byte) error

// errUnread says that a container in the foreground writes where nobody reads
// any more: its program shall hear of it, as in a pipeline without a container.
var errUnread = errors.New("nobody reads the output")

// streams joins a container's process with its log and with those attached.
// A slow watcher slows the process, as a pipe would; nothing is dropped.
type streams struct {
	log *logWriter
	// moved counts the bytes that were read, handing the pumps that pass some on.
	moved, handing atomic.Int64

	mu      sync.Mutex // guards what follows; taken before the log's
	sinks   map[int]sink
	clients map[net.Conn]bool
	next    int
	stdin   *os.File // what feeds the process: a pipe's end, or the terminal
	console *os.File // the terminal's master, nil without one
	signal  func(unix.Signal) error
	rows    uint16
	columns uint16
}

func (s *streams) add(to sink) (id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sinks == nil {
		s.sinks = map[int]sink{}
	}
	s.next++
	s.sinks[s.next] = to
	return s.next
}

func (s *streams) remove(id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sinks, id)
}

func (s *streams) emit(stream byte, p []byte) error {
	name := "stdout"
	if stream == frameStderr {
		name = "stderr"
	}
	s.log.write(name, p)
	s.mu.Lock()
	all := make(map[int]sink, len(s.sinks))
	for id, to := range s.sinks {
		all[id] = to
	}
	s.mu.Unlock()
	for id, to := range all {
		if err := to(stream, p); err == errUnread {
			return err
		} else if err != nil {
			s.remove(id)
		}
	}
	return nil
}

// pump carries one of the process's streams until its end.
func (s *streams) pump(stream byte, r io.ReadCloser) {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			s.handing.Add(1)
			s.moved.Add(int64(n))
			unread := s.emit(stream, buf[:n])
			s.handing.Add(-1)
			if unread != nil {
				r.Close()
				return
			}
		}
		// A terminal whose last user is gone answers EIO.
		if err != nil {
			return
		}
	}
}

// pipesHold is the most that the pipes of a process hold: the largest that the kernel makes without privilege, twice.
const pipesHold = 2 << 20

// rest waits for what a process left unread that has ended: until the pumps are done. Others may hold the pipes open for
// ever, so it is also the end when nothing moves for a while, or when more came than there can have been. It calls each
// now and then.
func (s *streams) rest(done <-chan struct{}, patience time.Duration, each func()) {
	begun := s.moved.Load()
	for before := begun; ; {
		select {
		case <-done:
			return
		case <-time.After(patience):
		}
		now := s.moved.Load()
		if now-begun > pipesHold || now == before && s.handing.Load() == 0 {
			return
		}
		before = now
		each()
	}
}

// hurry gives up those attached who take nothing.
func (s *streams) hurry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.clients {
		conn.SetWriteDeadline(time.Now().Add(time.Second))
	}
}

func (s *streams) input(p []byte) error {
	s.mu.Lock()
	in := s.stdin
	s.mu.Unlock()
	if in == nil {
		return io.ErrClosedPipe
	}
	_, err := in.Write(p)
	return err
}

// closeInput ends the process's standard input. A terminal has no such end:
// there the line discipline's end-of-file character is typed.
func (s *streams) closeInput() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.console != nil || s.stdin == nil {
		return
	}
	s.stdin.Close()
	s.stdin = nil
}

func (s *streams) resize(rows, columns uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows, s.columns = rows, columns
	if s.console != nil {
		unix.IoctlSetWinsize(int(s.console.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
	}
}

// serve speaks with one attached client until either side ends.
func (s *streams) serve(conn net.Conn, exit <-chan lastExit, stdinOnce bool) {
	defer conn.Close()
	var out sync.Mutex
	send := func(kind byte, p []byte) error {
		out.Lock()
		defer out.Unlock()
		return writeFrame(conn, kind, p)
	}
	id := s.add(send)
	s.know(conn, true)
	defer s.know(conn, false)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		s.listen(conn, stdinOnce)
	}()
	select {
	case e := <-exit:
		s.remove(id)
		send(frameExit, []byte{byte(e.ExitCode)})
	case <-gone:
		s.remove(id)
	}
}

func (s *streams) know(conn net.Conn, attached bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients == nil {
		s.clients = map[net.Conn]bool{}
	}
	s.clients[conn] = true
	if !attached {
		delete(s.clients, conn)
	}
}

func (s *streams) listen(conn net.Conn, stdinOnce bool) {
	buf := make([]byte, frameMax)
	for {
		kind, p, err := readFrame(conn, buf)
		if err != nil {
			return
		}
		switch kind {
		case frameStdin:
			s.input(p)
		case frameEOF:
			if stdinOnce {
				s.closeInput()
			}
		case frameResize:
			if len(p) == 4 {
				s.resize(uint16(p[0])<<8|uint16(p[1]), uint16(p[2])<<8|uint16(p[3]))
			}
		case frameSignal:
			if len(p) == 1 {
				s.kill(unix.Signal(p[0]))
			}
		}
	}
}

// kill sends a signal to the process, if there is one just now.
func (s *streams) kill(sig unix.Signal) {
	s.mu.Lock()
	send := s.signal
	s.mu.Unlock()
	if send != nil {
		send(sig)
	}
}

func (s *streams) connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stdin != nil
}
