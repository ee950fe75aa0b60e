//go:build linux

package main_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// busy VAR [once] starts a registry that answers 429 to everything, and asks to come
// back in years; or to the first request only, to which it says in a second.
func busy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: busy VAR [once]")
	}
	wait, again := "1000000000", http.StatusTooManyRequests
	if len(args) == 2 {
		wait, again = "1", http.StatusNotFound
	}
	var asked atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", wait)
		if asked.Swap(true) {
			w.WriteHeader(again)
			return
		}
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	ts.Defer(srv.Close)
	ts.Setenv(args[0], strings.TrimPrefix(srv.URL, "http://"))
}

// serve VAR [FLAGS] starts a registry of hod on a free port, in a store of its
// own, and puts its address into VAR. It ends with the script. Its access log is
// for requests.
func serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: serve VAR [FLAGS]")
	}
	cmd := exec.Command(hod, append([]string{"--root", ts.MkAbs(".serve-" + args[0]), "serve", "--addr", "127.0.0.1:0"}, args[1:]...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Dir, cmd.Env = ts.MkAbs("."), append(os.Environ(), "HOME="+ts.MkAbs("."))
	log, err := os.OpenFile(ts.MkAbs(".serve-"+args[0]+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	ts.Check(err)
	defer log.Close()
	cmd.Stderr = log
	ts.Check(cmd.Start())
	done := make(chan struct{})
	go func() {
		cmd.Wait()
		close(done)
	}()
	ts.Defer(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-done
	})
	for {
		said, err := os.ReadFile(log.Name())
		ts.Check(err)
		first, _, whole := strings.Cut(string(said), "\n")
		if _, addr, ok := strings.Cut(first, " on "); ok && whole {
			ts.Setenv(args[0], addr)
			return
		}
		select {
		case <-done:
			ts.Fatalf("hod serve said no address: %s", said)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// requests VAR FILE writes a line for each request that a registry of serve
// answered since the last time: method, path, status and bytes sent.
func requests(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: requests VAR FILE")
	}
	for quiet := false; !quiet; { // a client may end before its last request is logged
		resp, err := http.Get("http://" + ts.Getenv(args[0]) + "/metrics")
		ts.Check(err)
		text, err := io.ReadAll(resp.Body)
		ts.Check(errors.Join(err, resp.Body.Close()))
		quiet = strings.Contains(string(text), "\nhod_registry_requests_running 1\n") // this one
	}
	path := ts.MkAbs(".serve-" + args[0] + ".log")
	said, err := os.ReadFile(path)
	ts.Check(err)
	ts.Check(os.Truncate(path, 0))
	var list strings.Builder
	for line := range strings.Lines(string(said)) {
		if f := strings.Fields(line); len(f) == 8 && f[4] != `"/metrics"` {
			fmt.Fprintln(&list, f[3], strings.Trim(f[4], `"`), f[5], f[6])
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(list.String()), 0o644))
}
