package corpus

import (
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
)

// GitServer is the program of git's that serves repositories.
const GitServer = "/usr/lib/git-core/git-http-backend"

// Serve serves the places below a folder: files of AREA/NAME/http, and repositories of AREA/NAME/git to git. What lies
// in a folder http/private is for those who say "Bearer sesame".
func Serve(root string) *httptest.Server {
	files := http.FileServer(http.Dir(root))
	repositories := &cgi.Handler{Stderr: io.Discard, Path: GitServer, Root: "/",
		Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_GLOBAL=/dev/null",
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"}}
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Path, "/git/"):
			repositories.ServeHTTP(w, r)
		case strings.Contains(r.URL.Path, "/private/") && r.Header.Get("Authorization") != "Bearer sesame":
			http.Error(w, "who are you?", http.StatusUnauthorized)
		default:
			serveFile(w, r, root, files)
		}
	}))
}

// serveFile shows no folders, and knows two odd servers: of a name without a time, and of a name in a header.
func serveFile(w http.ResponseWriter, r *http.Request, root string, files http.Handler) {
	info, err := os.Stat(filepath.Join(root, filepath.FromSlash(r.URL.Path)))
	if err != nil || info.IsDir() {
		http.NotFound(w, r)
		return
	}
	files.ServeHTTP(w, r)
}
