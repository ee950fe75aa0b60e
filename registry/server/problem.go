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
	if p.Status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
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
