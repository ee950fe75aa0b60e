//go:build linux

package main_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
)

// TestTagsSteerNoTerminal lists tags by which a registry would write to the screen.
func TestTagsSteerNoTerminal(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"tags":["one","\u001b[2Jtwo"]}`)
	}))
	defer srv.Close()
	out, err := exec.Command(hod, "--root", t.TempDir(), "tags", strings.TrimPrefix(srv.URL, "http://")+"/app").CombinedOutput()
	if err != nil || !bytes.HasPrefix(out, []byte("one\n")) || bytes.ContainsRune(out, 0x1b) {
		t.Errorf("%q, %v", out, err)
	}
}
