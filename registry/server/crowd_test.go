package server

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// TestPasswordsInACrowd has many strangers show passwords: few are compared at
// once and few wait, the others are told to come back; who is known, and who needs
// no password, is served meanwhile.
func TestPasswordsInACrowd(t *testing.T) {
	auth := users(t, "public/** * pull\n** root pull,push\n", "root")
	s := New(openStore(t), Options{Auth: auth})
	_, manifest := fillRepo(t, s, "root", "public/app", "x") // root is known now
	for range cap(auth.turn) {
		auth.turn <- struct{}{}
	}
	var all sync.WaitGroup
	codes := make(chan *httptest.ResponseRecorder, 3*maxWaiting)
	for range cap(codes) {
		all.Go(func() {
			r, w := httptest.NewRequest("GET", "/v2/", nil), httptest.NewRecorder()
			r.SetBasicAuth("root", "a guess")
			s.ServeHTTP(w, r)
			codes <- w
		})
	}
	for range cap(codes) - maxWaiting {
		if w := <-codes; w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
			t.Fatalf("one too many: %d %s", w.Code, w.Body)
		}
	}
	for _, user := range []string{"root", ""} {
		if w := ask(s, user, "GET", "/v2/public/app/manifests/"+string(manifest), nil); w.Code != http.StatusOK {
			t.Errorf("%q in the crowd: %d", user, w.Code)
		}
	}
	for range cap(auth.turn) {
		<-auth.turn
	}
	all.Wait()
	for range maxWaiting {
		if w := <-codes; w.Code != http.StatusUnauthorized {
			t.Errorf("one who waited: %d", w.Code)
		}
	}
}

// TestHeadIsGet compares both at every endpoint, and asks for methods that there
// are not.
func TestHeadIsGet(t *testing.T) {
	s := New(openStore(t), Options{})
	blob, manifest := fillRepo(t, s, "", "app", "some bytes")
	srv := httptest.NewServer(s)
	defer srv.Close()
	fetch := func(method, path string, header ...string) (*http.Response, string) {
		t.Helper()
		req, err := http.NewRequest(method, srv.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	etag := `"` + string(blob) + `"`
	for _, row := range [][]string{
		{"/v2/"}, {"/v2/_catalog"}, {"/v2/app/tags/list"}, {"/v2/app/referrers/" + string(manifest)},
		{"/v2/app/manifests/v1"}, {"/v2/app/manifests/none"}, {"/v2/app/blobs/" + string(blob)}, {"/v2/app/blobs/" + string(digest.FromString("none"))},
		{"/v2/app/blobs/" + string(blob), "Range", "bytes=2-4"}, {"/v2/app/blobs/" + string(blob), "Range", "bytes=99-"},
		{"/v2/app/blobs/" + string(blob), "If-None-Match", etag}, {"/v2/app/manifests/v1", "If-None-Match", `"` + string(manifest) + `"`},
		{"/v2/app/blobs/" + string(blob), "Range", "bytes=0-0", "If-Range", `"another"`},
	} {
		get, body := fetch("GET", row[0], row[1:]...)
		head, none := fetch("HEAD", row[0], row[1:]...)
		if get.StatusCode != head.StatusCode || none != "" {
			t.Errorf("%q: GET %d, HEAD %d %q", row, get.StatusCode, head.StatusCode, none)
		}
		for _, h := range []string{"Content-Type", "Docker-Content-Digest", "Etag", "Content-Range", "Link"} {
			if get.Header.Get(h) != head.Header.Get(h) {
				t.Errorf("%q: %s is %q and %q", row, h, get.Header.Get(h), head.Header.Get(h))
			}
		}
		if head.ContentLength >= 0 && head.ContentLength != int64(len(body)) {
			t.Errorf("%q: HEAD says %d bytes, GET gave %d", row, head.ContentLength, len(body))
		}
	}
	for _, method := range []string{"OPTIONS", "PATCH", "BREW"} {
		if resp, _ := fetch(method, "/v2/app/manifests/v1"); resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "DELETE, GET, HEAD, PUT" {
			t.Errorf("%s: %d, allowed %q", method, resp.StatusCode, resp.Header.Get("Allow"))
		}
	}
	many, body := fetch("GET", "/v2/app/blobs/"+string(blob), "Range", "bytes=0-0"+strings.Repeat(",1-1", 5000))
	if many.StatusCode != http.StatusOK || body != "some bytes" {
		t.Errorf("thousands of ranges: %d with %d bytes", many.StatusCode, len(body))
	}
}

// TestLogLinesAreWhole sends what would end or imitate a line of the log.
func TestLogLinesAreWhole(t *testing.T) {
	var text bytes.Buffer
	s := New(openStore(t), Options{Log: log.New(&text, "", 0)})
	for _, method := range []string{`GET "/v2/" 200 5 1ms`, "GET\n1.2.3.4 PUT"} { // HTTP/2 lets the first one through
		r := httptest.NewRequest("GET", "/v2/a%0a1.2.3.4%20GET%20%22/tags/list", nil)
		r.Method = method
		s.ServeHTTP(httptest.NewRecorder(), r)
	}
	r := httptest.NewRequest("GET", "/v2/"+strings.Repeat("long/", 10000)+"tags/list", nil)
	s.ServeHTTP(httptest.NewRecorder(), r)
	lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
	if len(lines) != 3 || strings.Count(lines[0], ` "/v2/`) != 1 || len(lines[2]) > 1000 {
		t.Errorf("%d lines: %.3000q", len(lines), lines)
	}
}

// frame makes a frame of HTTP/2.
func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	n := len(payload)
	head := binary.BigEndian.AppendUint32([]byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags}, stream)
	return append(head, payload...)
}

// speak begins a connection of HTTP/2 and reads away what comes.
func speak(t *testing.T, srv *httptest.Server) (conn net.Conn, ended chan struct{}) {
	t.Helper()
	conn, err := tls.Dial("tcp", srv.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	conn.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	conn.Write(frame(4, 0, 0, nil)) // SETTINGS
	ended = make(chan struct{})
	go func() {
		io.Copy(io.Discard, conn)
		close(ended)
	}()
	return conn, ended
}

// TestFloodsOfFrames begins streams and resets them at once, thousands of times
// (CVE-2023-44487), and sends headers that never end (CVE-2023-45288, G17): the
// connection ends or is bounded, and others are served.
func TestFloodsOfFrames(t *testing.T) {
	s := New(openStore(t), Options{})
	fillRepo(t, s, "", "app", "x")
	srv := httptest.NewUnstartedServer(s)
	srv.EnableHTTP2, srv.Config.MaxHeaderBytes, srv.Config.ErrorLog = true, 64<<10, log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	headers := []byte{0x82, 0x87, 0x84, 0x41, 1, 'x'} // GET https x /
	conn, _ := speak(t, srv)
	var running int64
	for stream := uint32(1); stream < 20000; stream += 2 {
		if _, err := conn.Write(append(frame(1, 5, stream, headers), frame(3, 0, stream, []byte{0, 0, 0, 8})...)); err != nil {
			break
		}
		s.count.mu.Lock()
		running = max(running, s.count.running)
		s.count.mu.Unlock()
	}
	if running > 300 {
		t.Errorf("%d requests of one connection were answered at once", running)
	}
	conn, ended := speak(t, srv)
	sent := 0
	conn.Write(frame(1, 1, 1, headers)) // more headers follow
	junk := append([]byte{0, 1, 'a', 0x7f, 0x81, 0x7d}, bytes.Repeat([]byte{'b'}, 16000)...)
	for sent < 64<<20 {
		n, err := conn.Write(frame(9, 0, 1, junk))
		if sent += n; err != nil {
			break
		}
	}
	if sent >= 64<<20 {
		t.Error("headers without end were taken")
	} else {
		<-ended
	}
	client := srv.Client()
	if resp, err := client.Get(srv.URL + "/v2/app/manifests/v1"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("another client: %v", err)
	}
}
