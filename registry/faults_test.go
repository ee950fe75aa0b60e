package registry

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// fault is one way to spoil an answer.
type fault struct {
	name  string
	heals bool // the client must come through by itself once the fault is over
	spoil func(f *faulty, w http.ResponseWriter, r *http.Request, whole *httptest.ResponseRecorder)
}

// faults of answers. Each is applied to the answer that the registry would have
// given, so that a request may have had its effect although its answer is lost.
var faults = []fault{
	{"reset", true, func(f *faulty, w http.ResponseWriter, _ *http.Request, whole *httptest.ResponseRecorder) {
		f.cut(w, whole, true)
	}},
	{"fin", true, func(f *faulty, w http.ResponseWriter, _ *http.Request, whole *httptest.ResponseRecorder) {
		f.cut(w, whole, false)
	}},
	{"stall", true, func(f *faulty, w http.ResponseWriter, r *http.Request, whole *httptest.ResponseRecorder) {
		copyHeader(w, whole)
		w.WriteHeader(whole.Code)
		w.Write(whole.Body.Bytes()[:f.at(whole.Body.Len())])
		w.(http.Flusher).Flush()
		select { // a connection that goes back to the pool is never done
		case <-r.Context().Done():
		case <-time.After(700 * time.Millisecond):
		}
		panic(http.ErrAbortHandler)
	}},
	{"500", true, status(500, "")}, {"502", true, status(502, "")}, {"503", true, status(503, "0")},
	{"429", true, status(429, "0")}, {"429 for ever", true, status(429, "1000000000")},
	{"429 date", true, status(429, "Fri, 31 Dec 1999 23:59:59 GMT")},
	{"truncated", false, func(f *faulty, w http.ResponseWriter, _ *http.Request, whole *httptest.ResponseRecorder) {
		f.send(w, whole, whole.Body.Bytes()[:f.at(whole.Body.Len())])
	}},
	{"longer", false, func(f *faulty, w http.ResponseWriter, _ *http.Request, whole *httptest.ResponseRecorder) {
		f.send(w, whole, append(whole.Body.Bytes(), make([]byte, 70000)...))
	}},
	{"wrong byte", false, func(f *faulty, w http.ResponseWriter, _ *http.Request, whole *httptest.ResponseRecorder) {
		b := bytes.Clone(whole.Body.Bytes())
		if len(b) > 0 {
			b[min(f.at(len(b)), len(b)-1)] ^= 0x20
		}
		f.send(w, whole, b)
	}},
	{"html", false, func(f *faulty, w http.ResponseWriter, _ *http.Request, _ *httptest.ResponseRecorder) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<html><body>Please log in to the hotel's network</body></html>")
	}},
	{"wrong range", false, func(f *faulty, w http.ResponseWriter, _ *http.Request, whole *httptest.ResponseRecorder) {
		copyHeader(w, whole)
		w.Header().Set("Content-Range", "bytes 7-8/9")
		w.WriteHeader(http.StatusPartialContent)
		w.Write(whole.Body.Bytes())
	}},
	{"416", false, status(416, "")}, {"401", false, status(401, "")}, {"404", false, status(404, "")}, {"403", false, status(403, "")},
	{"redirect loop", false, func(_ *faulty, w http.ResponseWriter, r *http.Request, _ *httptest.ResponseRecorder) {
		http.Redirect(w, r, r.URL.RequestURI(), http.StatusTemporaryRedirect)
	}},
	{"redirect away", false, func(f *faulty, w http.ResponseWriter, r *http.Request, _ *httptest.ResponseRecorder) {
		http.Redirect(w, r, f.canary+"/stolen", http.StatusTemporaryRedirect)
	}},
	{"plain redirect", false, func(_ *faulty, w http.ResponseWriter, r *http.Request, _ *httptest.ResponseRecorder) {
		http.Redirect(w, r, "http://192.0.2.1/stolen", http.StatusFound)
	}},
	{"trickle", true, func(f *faulty, w http.ResponseWriter, r *http.Request, whole *httptest.ResponseRecorder) {
		copyHeader(w, whole)
		w.WriteHeader(whole.Code)
		for _, b := range whole.Body.Bytes()[:min(whole.Body.Len(), 100)] {
			w.Write([]byte{b})
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				panic(http.ErrAbortHandler)
			case <-time.After(20 * time.Millisecond):
			}
		}
		panic(http.ErrAbortHandler)
	}},
	{"another digest", false, func(f *faulty, w http.ResponseWriter, _ *http.Request, whole *httptest.ResponseRecorder) {
		whole.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64))
		f.send(w, whole, whole.Body.Bytes())
	}},
	{"gzip", false, func(f *faulty, w http.ResponseWriter, _ *http.Request, whole *httptest.ResponseRecorder) {
		var z bytes.Buffer
		zw := gzip.NewWriter(&z)
		zw.Write(whole.Body.Bytes())
		zw.Close()
		whole.Header().Set("Content-Encoding", "gzip")
		whole.Header().Del("Content-Length")
		f.send(w, whole, z.Bytes())
	}},
	{"multipart", false, func(f *faulty, w http.ResponseWriter, _ *http.Request, whole *httptest.ResponseRecorder) {
		whole.Code = http.StatusPartialContent
		whole.Header().Set("Content-Type", "multipart/byteranges; boundary=x")
		f.send(w, whole, append([]byte("--x\r\nContent-Range: bytes 0-9/10\r\n\r\n"), whole.Body.Bytes()...))
	}},
	{"206 unasked", false, func(f *faulty, w http.ResponseWriter, _ *http.Request, whole *httptest.ResponseRecorder) {
		n := whole.Body.Len()
		whole.Code = http.StatusPartialContent
		whole.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", max(n-1, 0), n))
		f.send(w, whole, whole.Body.Bytes())
	}},
	{"503 in a while", true, status(503, "3")}, {"200 of nothing", false, status(200, "")},
	{"redirect chain", false, func(_ *faulty, w http.ResponseWriter, r *http.Request, _ *httptest.ResponseRecorder) {
		hop, _ := strconv.Atoi(r.Header.Get("X-Hop"))
		http.Redirect(w, r, fmt.Sprintf("http://%s/v2/hop%d/blobs/x", r.Host, hop+1), http.StatusTemporaryRedirect)
	}},
	{"huge header", false, func(f *faulty, w http.ResponseWriter, _ *http.Request, whole *httptest.ResponseRecorder) {
		for i := range 40 {
			whole.Header().Set(fmt.Sprintf("X-Filler-%d", i), strings.Repeat("x", 60<<10))
		}
		f.send(w, whole, whole.Body.Bytes())
	}},
	{"two headers", false, func(f *faulty, w http.ResponseWriter, _ *http.Request, whole *httptest.ResponseRecorder) {
		for _, k := range []string{"Location", "Docker-Content-Digest", "Content-Range", "Range"} {
			whole.Header()[k] = append([]string{"0-0"}, whole.Header()[k]...)
		}
		f.send(w, whole, whole.Body.Bytes())
	}},
	{"location away", false, func(f *faulty, w http.ResponseWriter, _ *http.Request, whole *httptest.ResponseRecorder) {
		if whole.Header().Get("Location") != "" {
			whole.Header().Set("Location", f.canary+"/stolen")
		}
		f.send(w, whole, whole.Body.Bytes())
	}},
}

func status(code int, after string) func(*faulty, http.ResponseWriter, *http.Request, *httptest.ResponseRecorder) {
	return func(_ *faulty, w http.ResponseWriter, _ *http.Request, _ *httptest.ResponseRecorder) {
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		w.WriteHeader(code)
	}
}

// faulty stands before a registry and spoils some of its answers, by a seed.
type faulty struct {
	inner  http.Handler
	canary string // another origin
	kind   string // of requests to spoil, "" for all
	fault  fault
	before bool         // the request does not reach the registry
	bytes  atomic.Int64 // of bodies of blobs, as they were sent

	mu    sync.Mutex // guards what follows
	rnd   *rand.Rand
	times int // how often it spoils yet
}

// kindOf tells the requests of a registry apart.
func kindOf(r *http.Request) string {
	switch {
	case strings.Contains(r.URL.Path, "/blobs/uploads/"):
		return r.Method
	case strings.Contains(r.URL.Path, "/blobs/"):
		return r.Method + " blob"
	case strings.Contains(r.URL.Path, "/manifests/"):
		return r.Method + " manifest"
	case strings.Contains(r.URL.Path, "/referrers/"):
		return r.Method + " referrers"
	case strings.HasSuffix(r.URL.Path, "/_token"):
		return r.Method + " token"
	}
	return "other"
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	spoil := f.times > 0 && kindOf(r) == f.kind
	if spoil {
		f.times--
	}
	f.mu.Unlock()
	whole := httptest.NewRecorder()
	if !spoil || !f.before {
		f.inner.ServeHTTP(whole, r)
	}
	if spoil {
		f.fault.spoil(f, w, r, whole)
		return
	}
	f.send(w, whole, whole.Body.Bytes())
}

// at chooses where in a body it happens: at its ends, near them, or inside.
func (f *faulty) at(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return []int{0, min(1, n), n / 100, n / 2, max(n-1, 0)}[f.rnd.IntN(5)]
}

// cut sends a part of an answer and ends the connection.
func (f *faulty) cut(w http.ResponseWriter, whole *httptest.ResponseRecorder, reset bool) {
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	part := whole.Body.Bytes()[:f.at(whole.Body.Len())]
	if f.before {
		part = nil
	} else {
		fmt.Fprintf(rw, "HTTP/1.1 %d x\r\nContent-Length: %d\r\n", whole.Code, whole.Body.Len())
		whole.Header().Del("Content-Length")
		whole.Header().Write(rw)
		fmt.Fprint(rw, "\r\n")
	}
	rw.Write(part)
	rw.Flush()
	f.bytes.Add(int64(len(part)))
	if reset {
		conn.(*net.TCPConn).SetLinger(0)
	}
}

func (f *faulty) send(w http.ResponseWriter, whole *httptest.ResponseRecorder, body []byte) {
	copyHeader(w, whole)
	if len(body) > 0 {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(whole.Code)
	w.Write(body)
	f.bytes.Add(int64(len(body)))
}

func copyHeader(w http.ResponseWriter, whole *httptest.ResponseRecorder) {
	for k, v := range whole.Header() {
		w.Header()[k] = v
	}
}
