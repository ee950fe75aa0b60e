//go:build linux

package runner

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// monitor keeps one container company: it starts its process, holds its streams,
// records its end, starts it again where the policy says so, and probes its
// health. It lives in the process of a foreground run, else in one of its own.
type monitor struct {
	cs      *Containers
	c       *Container
	lock    *os.File
	launch  func(ctx context.Context, c *Container) (*running, error)
	streams streams
	// started is called once, when the process runs or could not be started.
	started func(error)

	clients sync.WaitGroup
	mu      sync.Mutex // guards exits and ended
	exits   []chan lastExit
	ended   *lastExit

	stateMu sync.Mutex // guards state
	state   State
}

// run is the whole life of the monitor. It returns the container's last exit.
func (m *monitor) run(ctx context.Context) (lastExit, error) {
	defer m.lock.Close()
	unix.Unlink(m.c.file("stop"))
	log, err := openLog(m.c)
	if err != nil {
		m.started(err)
		return lastExit{ExitCode: 125}, err
	}
	m.streams.log = log
	listener, err := m.listen()
	if err != nil {
		log.close()
		m.started(err)
		return lastExit{ExitCode: 125}, err
	}
	last, err := m.cycle(ctx)
	listener.Close()
	unix.Unlink(m.c.file("attach.sock"))
	if logErr := log.close(); logErr != nil && last.Error == "" {
		last.Error = logErr.Error()
	}
	m.end(last)
	return last, err
}

// listen opens the socket where others attach. Its path may be longer than a
// socket's name can be, so it is bound through the folder's descriptor.
func (m *monitor) listen() (net.Listener, error) {
	unix.Unlink(m.c.file("attach.sock"))
	l, err := listenIn(m.c.Dir, "attach.sock")
	if err != nil {
		return nil, fmt.Errorf("listen for attach: %w", err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go m.attach(conn)
		}
	}()
	return l, nil
}

// listenIn makes a socket in a folder. Package net would read the length of its
// queue from the system first.
func listenIn(folder, name string) (net.Listener, error) {
	dir, err := unix.Open(folder, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir, name)}); err != nil {
		return nil, err
	}
	if err := unix.Listen(fd, 64); err != nil {
		return nil, err
	}
	return net.FileListener(f)
}

func (m *monitor) attach(conn net.Conn) {
	m.clients.Add(1)
	defer m.clients.Done()
	m.streams.serve(conn, m.exit(), m.c.Options.Interactive)
}

// exit returns a channel that gets the exit when the monitor is done.
func (m *monitor) exit() <-chan lastExit {
	m.mu.Lock()
	defer m.mu.Unlock()
	ch := make(chan lastExit, 1)
	if m.ended != nil {
		ch <- *m.ended
	} else {
		m.exits = append(m.exits, ch)
	}
	return ch
}

// cycle runs the process until the restart policy has enough.
func (m *monitor) cycle(ctx context.Context) (lastExit, error) {
	pause := restartPauseMin
	for first := true; ; first = false {
		begun := time.Now()
		last, err := m.once(ctx, first)
		if first && err != nil {
			return last, err
		}
		if err != nil {
			last.Error = err.Error()
		}
		if !m.again(last) {
			return last, nil
		}
		if time.Since(begun) > restartSettled {
			pause = restartPauseMin
		}
		m.update(func(s *State) {
			s.Status, s.Pid, s.Restarts = StatusRestarting, 0, s.Restarts+1
			s.ExitCode, s.OOMKilled, s.Error = last.ExitCode, last.OOMKilled, last.Error
			s.FinishedAt = time.Now().UTC()
		})
		if !m.sleep(ctx, pause) {
			return last, nil
		}
		pause = min(pause*2, restartPauseMax)
	}
}

// The pauses before a restart double from the shortest to the longest, and begin
// anew after a run that lasted.
const (
	restartPauseMin = 100 * time.Millisecond
	restartPauseMax = time.Minute
	restartSettled  = 10 * time.Second
)

// again says whether the policy wants another run.
func (m *monitor) again(last lastExit) bool {
	if m.stopped() {
		return false
	}
	switch p := m.restart(); p.Name {
	case "always", "unless-stopped":
		return true
	case "on-failure":
		return last.ExitCode != 0 && (p.Max == 0 || m.snapshot().Restarts < p.Max)
	}
	return false
}

// restart is the policy, which update may have changed.
func (m *monitor) restart() RestartPolicy {
	if m.c.Options.AutoRemove {
		return m.c.Options.Restart
	}
	if now, err := loadContainer(m.c.Dir); err == nil {
		m.c.Options.Restart = now.Options.Restart
	}
	return m.c.Options.Restart
}

// stopped reports whether somebody asked for the end.
func (m *monitor) stopped() bool {
	_, err := os.Lstat(m.c.file("stop"))
	return err == nil
}

// sleep pauses between runs; it returns false when a stop is asked for.
func (m *monitor) sleep(ctx context.Context, d time.Duration) bool {
	for end := time.Now().Add(d); time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(20 * time.Millisecond):
		}
		if m.stopped() {
			return false
		}
	}
	return true
}

// once starts the process and waits for its end.
func (m *monitor) once(ctx context.Context, first bool) (lastExit, error) {
	p, err := m.launch(ctx, m.c)
	if err == nil {
		err = m.record(p)
		if err != nil {
			p.signal(9)
			p.wait()
		}
	}
	if err == nil {
		m.cs.tell(m.c, "start")
	}
	if first {
		m.started(err)
	}
	if err != nil {
		return lastExit{ExitCode: ExitCode(err), Error: err.Error()}, err
	}
	stopHealth := m.probe(ctx, p)
	done := m.connect(p)
	last, err := p.wait()
	stopHealth()
	m.drain(p, done)
	m.tellEnd(last)
	return last, err
}

// tellEnd tells of the end of one run, by the name that the container has by now.
func (m *monitor) tellEnd(last lastExit) {
	if id, err := os.Readlink(filepath.Join(m.cs.dir, namesDir, m.c.Name)); err != nil || id != m.c.ID {
		if now, err := loadContainer(m.c.Dir); err == nil {
			m.c.Name = now.Name
		}
	}
	if last.OOMKilled {
		m.cs.tell(m.c, "oom")
	}
	m.cs.tell(m.c, "die", "exitCode", strconv.Itoa(last.ExitCode))
}

// connect starts the carrying of the process's streams.
func (m *monitor) connect(p *running) (done <-chan struct{}) {
	s := &m.streams
	s.mu.Lock()
	s.console, s.stdin, s.signal = p.console, p.stdin, p.signal
	if p.console != nil {
		s.stdin = p.console
	}
	rows, columns := s.rows, s.columns
	s.mu.Unlock()
	if rows > 0 {
		s.resize(rows, columns)
	}
	var wg sync.WaitGroup
	if p.console != nil {
		wg.Go(func() { s.pump(frameStdout, p.console) })
	} else {
		wg.Go(func() { s.pump(frameStdout, p.stdout) })
		wg.Go(func() { s.pump(frameStderr, p.stderr) })
	}
	ch := make(chan struct{})
	go func() { wg.Wait(); close(ch) }()
	return ch
}

// drain waits for the rest of the output. Who is attached and takes nothing holds it up, until the container is asked to
// stop.
func (m *monitor) drain(p *running, done <-chan struct{}) {
	s := &m.streams
	s.rest(done, 2*time.Second, func() {
		if m.stopped() {
			s.hurry()
		}
	})
	s.mu.Lock()
	if s.stdin != nil {
		s.stdin.Close()
	}
	s.stdin, s.console, s.signal = nil, nil, nil
	s.mu.Unlock()
	for _, f := range []*os.File{p.console, p.stdout, p.stderr} {
		if f != nil {
			f.Close()
		}
	}
	<-done
	s.log.flush()
}

// record writes that the process runs.
func (m *monitor) record(p *running) error {
	start, err := processStart(p.pid)
	if err != nil && !errors.Is(err, os.ErrProcessDone) && !missing(err) {
		return err
	}
	return m.update(func(s *State) {
		s.Status, s.Pid, s.PidStart = StatusRunning, p.pid, start
		s.MonitorPid, s.BootID = os.Getpid(), bootID()
		s.StartedAt, s.Error, s.OOMKilled, s.ExitCode = time.Now().UTC(), "", false, 0
		s.FinishedAt = time.Time{}
		s.Cgroup, s.Network = p.cgroup, p.network
	})
}

// update changes the state and writes it.
func (m *monitor) update(change func(*State)) error {
	m.stateMu.Lock()
	defer m.stateMu.Unlock()
	if m.state.Running() { // pause or unpause may have written it
		if disk, err := m.c.LoadState(); err == nil && disk.Running() {
			m.state.Status = disk.Status
		}
	}
	change(&m.state)
	if m.state.Status == StatusExited && m.c.Options.AutoRemove {
		return nil // it goes as a whole in a moment
	}
	return m.c.saveState(&m.state)
}

func (m *monitor) snapshot() State {
	m.stateMu.Lock()
	defer m.stateMu.Unlock()
	return m.state
}

// end records the last exit, first where waiters read it, and tells those attached.
func (m *monitor) end(last lastExit) {
	if why, err := os.ReadFile(m.c.file("stop")); err == nil && string(why) == stopToStart {
		m.c.Options.AutoRemove = false
	}
	m.update(func(s *State) {
		s.Status = StatusExited
		if s.StartedAt.IsZero() {
			s.Status = StatusCreated
		}
		s.Pid, s.MonitorPid, s.Network = 0, 0, nil
		s.ExitCode, s.OOMKilled, s.Error = last.ExitCode, last.OOMKilled, last.Error
		s.FinishedAt = time.Now().UTC()
	})
	writeExit(m.lock, last)
	if m.c.Options.AutoRemove {
		if err := m.cs.erase(m.c); err != nil {
			m.stateMu.Lock()
			m.state.Error = err.Error()
			m.c.saveState(&m.state)
			m.stateMu.Unlock()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended = &last
	for _, ch := range m.exits {
		ch <- last
	}
}

func (m *monitor) isDone() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ended != nil
}

// settle waits until those attached have heard of the end, for a bounded time.
func (m *monitor) settle() {
	done := make(chan struct{})
	go func() { m.clients.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
	}
}
