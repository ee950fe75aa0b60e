package server

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// TestHostileNames asks for repositories and references that are none (G13), and
// for two that only look like each other's folder.
func TestHostileNames(t *testing.T) {
	store := openStore(t)
	s := New(store, Options{})
	parts := []string{"..", ".", "a/../b", "%2e%2e", "a%2f..%2fb", "a\\b", "A", "a b", "a//b", "/a", "a/", "_uploads", "a/_layers", "-a", "a-", "a.", ".a",
		"a__b/..", "a%00b", "a\tb", "é", strings.Repeat("a", 256), strings.Repeat("a/", 200) + "a", "a:b", "a@b", "a?b", "a#b", "~", "$HOME", "a;b", "a|b", "a..b", "a___b", "a._b"}
	before := listing(t, store.Root())
	n := 0
	for _, p := range parts {
		for _, path := range []string{"/blobs/uploads/", "/manifests/x", "/tags/list", "/blobs/" + string(digest.FromString("x")), "/manifests/..%2f..%2fx", "/blobs/uploads/../../x"} {
			n++
			method := map[bool]string{true: "POST", false: "GET"}[path == "/blobs/uploads/"]
			r := httptest.NewRequest(method, "/", nil)
			r.URL.Path, r.URL.RawPath = "", ""
			r.URL.Opaque = "/v2/" + p + path
			r.URL.Path = r.URL.Opaque
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Code != 400 && w.Code != 404 && w.Code != 405 {
				t.Errorf("%s %s: %d", method, r.URL.Path, w.Code)
			}
		}
	}
	if n < 200 {
		t.Errorf("only %d names", n)
	}
	if after := listing(t, store.Root()); after != before {
		t.Errorf("something was written:\n%s\nwas:\n%s", after, before)
	}
	fillRepo(t, s, "", "org", "one")
	fillRepo(t, s, "", "org/team", "two")
	if w := ask(s, "", "GET", "/v2/org/tags/list", nil); w.Code != 200 {
		t.Errorf("org beside org/team: %d", w.Code)
	}
}

// listing is the files below a folder, but for leases and temporary ones.
func listing(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if rel := strings.TrimPrefix(path, root); err == nil && !strings.HasPrefix(rel, "/leases/") && !strings.HasPrefix(rel, "/tmp/") {
			fmt.Fprintln(&b, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestUploadsBehaveAsTheModel sends random requests to random upload sessions and
// compares with what must be there (G14): no blob but the right one, no session
// through another repository, no piece out of order.
func TestUploadsBehaveAsTheModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	s := New(openStore(t), Options{})
	model := map[string][]byte{} // location to bytes
	var open []string
	steps := 1500
	if os.Getenv("HOD_TEST_FULL") != "" {
		steps = 100000
	}
	for range steps {
		if len(open) == 0 || rnd.IntN(8) == 0 {
			w := ask(s, "", "POST", "/v2/r"+fmt.Sprint(rnd.IntN(2))+"/blobs/uploads/", nil)
			if loc := w.Header().Get("Location"); w.Code != 202 || loc == "" {
				t.Fatalf("begin: %d", w.Code)
			} else {
				open = append(open, loc)
				model[loc] = nil
			}
			continue
		}
		i := rnd.IntN(len(open))
		loc, have := open[i], model[open[i]]
		piece := make([]byte, rnd.IntN(40))
		for j := range piece {
			piece[j] = byte(rnd.Uint32())
		}
		if rnd.IntN(10) == 0 { // the same session through another repository
			other := map[bool]string{true: strings.Replace(loc, "/r0/", "/r1/", 1), false: strings.Replace(loc, "/r1/", "/r0/", 1)}[strings.Contains(loc, "/r0/")]
			if w := ask(s, "", "PATCH", other, piece); w.Code != 404 {
				t.Fatalf("foreign session: %d", w.Code)
			}
			continue
		}
		switch rnd.IntN(6) {
		case 0, 1: // a piece at its place
			at := fmt.Sprintf("%d-%d", len(have), len(have)+len(piece)-1)
			if w := ask(s, "", "PATCH", loc, piece, "Content-Range", at); w.Code != 202 {
				t.Fatalf("piece %s: %d %s", at, w.Code, w.Body)
			}
			model[loc] = append(have, piece...)
		case 2: // elsewhere, or with ranges that are none
			at := []string{fmt.Sprintf("%d-%d", len(have)+1, len(have)+len(piece)), "-1-3", "5-1", "9223372036854775807-9223372036854775807", "x", "0--1", "99999999999999999999-1"}[rnd.IntN(7)]
			if at == fmt.Sprintf("%d-%d", len(have), len(have)+len(piece)-1) {
				continue // an empty piece of an empty upload is where it belongs
			}
			if w := ask(s, "", "PATCH", loc, piece, "Content-Range", at); w.Code != 416 {
				t.Fatalf("piece at %s of %d: %d", at, len(have), w.Code)
			}
		case 3:
			w := ask(s, "", "GET", loc, nil)
			if want := fmt.Sprintf("0-%d", max(len(have)-1, 0)); w.Code != 204 || w.Header().Get("Range") != want {
				t.Fatalf("status: %d %s, want %s", w.Code, w.Header().Get("Range"), want)
			}
		case 4: // the end, right or wrong
			whole := append(bytes.Clone(have), piece...)
			d, want := digest.FromBytes(whole), 201
			if rnd.IntN(2) == 0 {
				d, want = digest.FromBytes(append(whole, 'x')), 400
			}
			if w := ask(s, "", "PUT", loc+"?digest="+string(d), piece); w.Code != want {
				t.Fatalf("end: %d, want %d: %s", w.Code, want, w.Body)
			}
			repo, _, _ := strings.Cut(strings.TrimPrefix(loc, "/v2/"), "/")
			w := ask(s, "", "GET", "/v2/"+repo+"/blobs/"+string(d), nil)
			if (w.Code == 200) != (want == 201) || w.Code == 200 && digest.FromBytes(w.Body.Bytes()) != d {
				t.Fatalf("after %d the blob is answered with %d", want, w.Code)
			}
			open = append(open[:i], open[i+1:]...)
		case 5:
			if w := ask(s, "", "DELETE", loc, nil); w.Code != 204 {
				t.Fatalf("cancel: %d", w.Code)
			}
			open = append(open[:i], open[i+1:]...)
			if w := ask(s, "", "GET", loc, nil); w.Code != 404 {
				t.Fatalf("after a cancel: %d", w.Code)
			}
		}
	}
	for _, id := range []string{"../../x", "..%2f..%2fversion", strings.Repeat("0", 32), strings.Repeat("z", 32), ""} {
		if w := ask(s, "", "PATCH", "/v2/r0/blobs/uploads/"+id, nil); w.Code < 400 {
			t.Errorf("session %q: %d", id, w.Code)
		}
	}
}

// TestManifestsAreBounded pushes what is too large, too short, or something else (G15, G22).
func TestManifestsAreBounded(t *testing.T) {
	s := New(openStore(t), Options{})
	fillRepo(t, s, "", "app", "x")
	huge := append([]byte(`{"schemaVersion":2,"a":"`), bytes.Repeat([]byte("x"), 5<<20)...)
	unknown := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"x/y","digest":%q,"size":2},"layers":[]}`, manifestType, digest.FromString("nowhere"))
	for name, row := range map[string]struct {
		ref  string
		body []byte
		want int
	}{
		"5 MiB": {"v2", huge, 413}, "not JSON": {"v2", []byte("hello"), 400}, "empty": {"v2", nil, 400}, "blobs elsewhere": {"v2", unknown, 404},
		"another digest": {string(digest.FromString("x")), unknown, 400}, "no tag": {"-x", unknown, 400}, "long tag": {strings.Repeat("t", 129), unknown, 400},
		"two kinds": {"v2", []byte(`{"schemaVersion":2,"manifests":[],"layers":[]}`), 400},
	} {
		if w := ask(s, "", "PUT", "/v2/app/manifests/"+row.ref, row.body, "Content-Type", manifestType); w.Code != row.want {
			t.Errorf("%s: %d, want %d", name, w.Code, row.want)
		}
	}
	r := httptest.NewRequest("PUT", "/v2/app/manifests/v2", io.MultiReader(bytes.NewReader(huge)))
	r.ContentLength = -1
	w := httptest.NewRecorder()
	if s.ServeHTTP(w, r); w.Code != 413 {
		t.Errorf("5 MiB without a length: %d", w.Code)
	}
	if w := ask(s, "", "GET", "/v2/app/tags/list", nil); !strings.Contains(w.Body.String(), `["v1"]`) {
		t.Errorf("tags: %s", w.Body)
	}
}

// TestListsAreBounded asks for too much and for nonsense (G16), of 10 000 tags.
func TestListsAreBounded(t *testing.T) {
	store := openStore(t)
	s := New(store, Options{})
	_, manifest := fillRepo(t, s, "", "app", "x")
	desc, err := store.RepositoryManifest("app", manifest)
	if err != nil {
		t.Fatal(err)
	}
	count := 1200
	if os.Getenv("HOD_TEST_FULL") != "" {
		count = 10000
	}
	var all sync.WaitGroup
	for k := range 32 { // each waits for the disk
		all.Go(func() {
			for i := k; i < count; i += 32 {
				if err := store.TagRepository("app", fmt.Sprintf("t%05d", i), desc); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for q, want := range map[string]int{"": 200, "n=-1": 400, "n=x": 400, "n=9223372036854775808": 400, "n=0": 200, "n=100000": 200, "last=%00%ff": 200, "last=" + strings.Repeat("z", 5000): 200} {
		w := ask(s, "", "GET", "/v2/app/tags/list?"+q, nil)
		if got := strings.Count(w.Body.String(), `"t0`); w.Code != want || got > 1000 {
			t.Errorf("%s: %d with %d tags", q, w.Code, got)
		}
	}
	seen, path := 0, "/v2/app/tags/list?n=500"
	for path != "" {
		w := ask(s, "", "GET", path, nil)
		seen += strings.Count(w.Body.String(), `"t0`)
		next, _, _ := strings.Cut(strings.TrimPrefix(w.Header().Get("Link"), "<"), ">")
		path = next
	}
	if seen != count {
		t.Errorf("the pages have %d tags, not %d", seen, count)
	}
}

// TestSlowConnectionsEnd holds connections open without using them (G17), while
// others are served.
func TestSlowConnectionsEnd(t *testing.T) {
	s := New(openStore(t), Options{BodyIdle: 300 * time.Millisecond})
	srv := httptest.NewServer(s)
	defer srv.Close()
	fillRepo(t, s, "", "app", "x")
	addr := strings.TrimPrefix(srv.URL, "http://")
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			fmt.Fprintf(c, "POST /v2/app/blobs/uploads/?digest=%s HTTP/1.1\r\nHost: %s\r\nContent-Length: 1000\r\n\r\nabc", digest.FromString("x"), addr)
			c.SetReadDeadline(time.Now().Add(20 * time.Second))
			r := bufio.NewReader(c)
			for {
				if _, err := r.ReadByte(); err != nil {
					if ne, ok := err.(net.Error); ok && ne.Timeout() {
						t.Error("the connection is still held")
					}
					return
				}
			}
		})
	}
	if resp, err := http.Get(srv.URL + "/v2/app/manifests/v1"); err != nil || resp.StatusCode != 200 {
		t.Errorf("another client: %v", err)
	}
	all.Wait()
}

// TestSlowUploadsAreAnswered has an upload take longer than a connection may rest: it is
// answered all the same.
func TestSlowUploadsAreAnswered(t *testing.T) {
	srv := httptest.NewServer(New(openStore(t), Options{BodyIdle: 300 * time.Millisecond}))
	defer srv.Close()
	piece := bytes.Repeat([]byte("x"), 2<<10)
	body, in := io.Pipe()
	go func() {
		for range 10 {
			time.Sleep(100 * time.Millisecond)
			in.Write(piece)
		}
		in.Close()
	}()
	d := digest.FromBytes(bytes.Repeat(piece, 10))
	resp, err := http.Post(srv.URL+"/v2/app/blobs/uploads/?digest="+string(d), "application/octet-stream", body)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// TestSmuggledRequests sends lengths that contradict each other (G17).
func TestSmuggledRequests(t *testing.T) {
	srv := httptest.NewServer(New(openStore(t), Options{}))
	defer srv.Close()
	for _, text := range []string{
		"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
		"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, text)
		c.SetReadDeadline(time.Now().Add(20 * time.Second))
		answer, _ := io.ReadAll(c)
		c.Close()
		if n := strings.Count(string(answer), "HTTP/1.1 "); n > 1 {
			t.Errorf("%d answers to %q", n, text)
		}
	}
}

// TestOtherNamesAndOrigins calls a loopback server by a name that was bound to it
// (G20), with what proxies and browsers add.
func TestOtherNamesAndOrigins(t *testing.T) {
	s := New(openStore(t), Options{Hosts: []string{"my.box"}, URL: ""})
	for host, want := range map[string]int{"localhost:5000": 200, "127.0.0.1:5000": 200, "[::1]:5000": 200, "my.box": 200, "evil.example": 421, "127.0.0.1.evil.example": 421, "": 421} {
		r := httptest.NewRequest("GET", "/v2/", nil)
		r.Host = host
		r.Header.Set("Origin", "https://evil.example")
		r.Header.Set("X-Forwarded-Host", "evil.example")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%q: %d", host, w.Code)
		}
		for k, v := range w.Header() {
			if strings.HasPrefix(k, "Access-Control") || strings.Contains(fmt.Sprint(v), "evil") {
				t.Errorf("%q: header %s: %v", host, k, v)
			}
		}
	}
	r := httptest.NewRequest("POST", "/v2/app/blobs/uploads/", nil)
	r.Host = "localhost"
	r.Header.Set("X-Forwarded-Host", "evil.example")
	w := httptest.NewRecorder()
	if s.ServeHTTP(w, r); strings.Contains(w.Header().Get("Location"), "evil") {
		t.Errorf("location %q", w.Header().Get("Location"))
	}
}

// TestLogsHoldNoSecrets reads the access log after requests with secrets (G21).
func TestLogsHoldNoSecrets(t *testing.T) {
	var out bytes.Buffer
	s := New(openStore(t), Options{Auth: users(t, "", "marker"), Log: log.New(&out, "", 0)})
	ask(s, "marker", "GET", "/v2/?token=marker&password=marker", nil)
	ask(s, "", "GET", "/v2/app/manifests/x?_state=marker", nil, "Authorization", "Bearer marker", "Cookie", "marker")
	if strings.Contains(out.String(), "marker") || !strings.Contains(out.String(), "/v2/app/manifests/x") {
		t.Errorf("log: %s", out.String())
	}
}
