package server

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// counters are what the server tells of itself.
type counters struct {
	mu       sync.Mutex // guards all
	requests map[string]int64
	seconds  float64
	sent     int64
	received int64
	running  int64
	sweeps   int64
	freed    int64
}

// begin counts a request that is being answered; what it returns ends that.
func (c *counters) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running++
}

// now is how many requests are being answered.
func (c *counters) now() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running
}

func (c *counters) end(method string, status int, sent int64, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.requests == nil {
		c.requests = map[string]int64{}
	}
	if !slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}, method) {
		method = "other"
	}
	c.requests[fmt.Sprintf(`method=%q,code="%d"`, method, status)]++
	c.running--
	c.seconds += took.Seconds()
	c.sent += sent
}

func (c *counters) receive(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.received += n
}

func (c *counters) sweep(freed int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweeps++
	c.freed += freed
}

// text writes the counters in Prometheus' text form.
func (c *counters) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	head := func(name, kind, help string) { fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }
	head("hod_registry_requests_total", "counter", "Requests answered.")
	keys := make([]string, 0, len(c.requests))
	for k := range c.requests {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		fmt.Fprintf(&b, "hod_registry_requests_total{%s} %d\n", k, c.requests[k])
	}
	for _, m := range []struct {
		name, kind, help string
		value            any
	}{
		{"hod_registry_requests_running", "gauge", "Requests that are being answered.", c.running},
		{"hod_registry_request_seconds_total", "counter", "Time spent on requests.", c.seconds},
		{"hod_registry_sent_bytes_total", "counter", "Bytes of bodies sent.", c.sent},
		{"hod_registry_received_bytes_total", "counter", "Bytes of blobs received.", c.received},
		{"hod_registry_collections_total", "counter", "Collections run.", c.sweeps},
		{"hod_registry_collected_bytes_total", "counter", "Bytes given back by collections.", c.freed},
	} {
		head(m.name, m.kind, m.help)
		fmt.Fprintf(&b, "%s %v\n", m.name, m.value)
	}
	return b.String()
}

// Metrics is the handler of /metrics and /healthz alone, for a port of its own.
func (s *Server) Metrics() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) { s.metrics(w) })
	mux.HandleFunc("GET /healthz", s.health)
	return mux
}

func (s *Server) showMetrics(r *request) error {
	s.metrics(r.w)
	return nil
}

func (s *Server) metrics(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	fmt.Fprint(w, s.count.text())
}

// health says whether the store can be read.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	if _, err := s.store.Uploads(); err != nil {
		http.Error(w, "the store cannot be read", http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusOK)
}
