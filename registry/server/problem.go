package server

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// problemError is an error of the specification: a status and a body with a code.
type problemError struct {
	Status  int
	Code    string
	Message string
}

func (p *problemError) Error() string { return fmt.Sprintf("%s: %s", p.Code, p.Message) }

func problem(status int, code, message string) *problemError {
	return &problemError{status, code, message}
}

// writeError answers with a problem body. Only problems come here; another
// error shows nothing of itself.
func writeError(w http.ResponseWriter, err error) {
	p, ok := err.(*problemError)
	if !ok {
		p = problem(http.StatusInternalServerError, "UNKNOWN", "internal error")
	}
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	body, _ := json.Marshal(map[string][]entry{"errors": {{p.Code, p.Message}}})
	w.Header().Set("Content-Type", "application/json")
	w.Header().Del("Content-Length")
	w.WriteHeader(p.Status)
	w.Write(body)
}

func blobUnknown() error {
	return problem(http.StatusNotFound, "BLOB_UNKNOWN", "the repository has no such blob")
}

func manifestUnknown() error {
	return problem(http.StatusNotFound, "MANIFEST_UNKNOWN", "the repository has no such manifest")
}

func uploadUnknown() error {
	return problem(http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "the repository has no such upload")
}

// metrics writes the counters in Prometheus' text form.
func (s *Server) metrics(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	for _, m := range []struct {
		name, help string
		value      int64
	}{
		{"hod_registry_requests_total", "Requests answered.", s.count.requests.Load()},
		{"hod_registry_errors_total", "Requests answered with a status of 500 or more.", s.count.errors.Load()},
		{"hod_registry_sent_bytes_total", "Bytes of bodies sent.", s.count.blobBytesOut.Load()},
		{"hod_registry_received_bytes_total", "Bytes of blobs received.", s.count.blobBytesIn.Load()},
	} {
		fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s counter\n%s %d\n", m.name, m.help, m.name, m.name, m.value)
	}
}
