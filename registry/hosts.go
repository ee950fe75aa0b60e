package registry

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// hostConfig is how one host of a registry is reached.
type hostConfig struct {
	scheme, host string // empty: the registry's own
	path         string // in place of /v2, if override_path says so
	mirror       bool
	folder       string   // in which it was found: the registry's own, or that of every host
	capabilities []string // nil is all that there are
	header       http.Header
	tls          *tls.Config // nil is the machine's usual
	dialTimeout  time.Duration
}

// everyHost is the folder for hosts that have none of their own.
const everyHost = "_default"

// hostDirs are the folders in which hosts are configured, the first to rule
// first.
func hostDirs() []string {
	var dirs []string
	if own := os.Getenv("HOD_CONFIG"); own != "" {
		dirs = append(dirs, filepath.Join(own, "certs.d"))
	}
	if user, err := os.UserConfigDir(); err == nil {
		dirs = append(dirs, filepath.Join(user, "hod/certs.d"))
	}
	return append(dirs, "/etc/hod/certs.d", "/etc/containerd/certs.d", "/etc/docker/certs.d")
}

// readHosts gives the hosts of a registry in the order in which they are asked:
// mirrors, then the registry itself. The first folder that knows the registry
// rules, and where none does the folder _default of one.
func readHosts(dirs []string, registry string) ([]hostConfig, error) {
	names := []string{registry, strings.Replace(registry, ":", "_", 1) + "_", everyHost}
	if !strings.Contains(registry, ":") {
		names = []string{registry, everyHost}
	}
	for _, name := range names {
		for _, dir := range dirs {
			dir = filepath.Join(dir, name)
			st, err := os.Stat(dir)
			if err != nil || !st.IsDir() {
				continue
			}
			set, err := readHostDir(dir)
			if err != nil {
				return nil, fmt.Errorf("read how to reach %s: %w", registry, err)
			}
			for i := range set {
				set[i].folder = name
			}
			if set != nil {
				return set, nil
			}
		}
	}
	return []hostConfig{{}}, nil
}

// hostFile is one host's table in hosts.toml; the file's top is the registry's.
type hostFile struct {
	Capabilities []string       `toml:"capabilities"`
	CA           any            `toml:"ca"`
	Client       any            `toml:"client"`
	SkipVerify   bool           `toml:"skip_verify"`
	Header       map[string]any `toml:"header"`
	OverridePath bool           `toml:"override_path"`
	DialTimeout  string         `toml:"dial_timeout"`
}

// readHostDir reads hosts.toml, or where there is none Docker's certificates; nil
// when the folder has neither.
func readHostDir(dir string) ([]hostConfig, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "hosts.toml"))
	if errors.Is(err, fs.ErrNotExist) {
		return dockerCerts(dir)
	}
	if err != nil {
		return nil, err
	}
	set, err := parseHosts(raw, dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, "hosts.toml"), err)
	}
	return set, nil
}

func parseHosts(raw []byte, dir string) ([]hostConfig, error) {
	var doc struct {
		hostFile
		Server string              `toml:"server"`
		Host   map[string]hostFile `toml:"host"`
	}
	dec := toml.NewDecoder(bytes.NewReader(raw)).DisallowUnknownFields()
	if err := dec.Decode(&doc); err != nil {
		return nil, tomlError(err)
	}
	order, err := hostOrder(raw)
	if err != nil {
		return nil, err
	}
	var set []hostConfig
	for _, key := range order {
		h, err := doc.Host[key].config(key, dir)
		if err != nil {
			return nil, fmt.Errorf("host %q: %w", key, err)
		}
		h.mirror = true
		set = append(set, h)
	}
	server, err := doc.config(doc.Server, dir)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	return itself(set, server, filepath.Base(dir)), nil
}

// itself puts the registry behind its mirrors. A host that is the registry once more,
// which is how many write down its certificates, is no mirror of it.
func itself(set []hostConfig, server hostConfig, registry string) []hostConfig {
	i := slices.IndexFunc(set, func(h hostConfig) bool {
		same := h.host == server.host && h.scheme == server.scheme || server.host == "" && h.host == registry
		return same && h.path == server.path && server.tls == nil && len(server.header) == 0
	})
	if i < 0 {
		return append(set, server)
	}
	own := set[i]
	own.mirror = false
	return append(slices.Delete(set, i, i+1), own)
}

// tomlError says the line of a mistake.
func tomlError(err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		row, _ := strict.Errors[0].Position()
		return fmt.Errorf("line %d: unknown field %q", row, strings.Join(strict.Errors[0].Key(), "."))
	}
	var wrong *toml.DecodeError
	if errors.As(err, &wrong) {
		row, _ := wrong.Position()
		return fmt.Errorf("line %d: %w", row, err)
	}
	return err
}

// hostOrder lists the hosts as they stand in the file: the first is asked first.
func hostOrder(raw []byte) ([]string, error) {
	var order []string
	p := unstable.Parser{}
	p.Reset(raw)
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind != unstable.Table {
			continue
		}
		var key []string
		for it := e.Key(); it.Next(); {
			key = append(key, string(it.Node().Data))
		}
		if len(key) >= 2 && key[0] == "host" && !slices.Contains(order, key[1]) {
			order = append(order, key[1])
		}
	}
	return order, p.Error()
}

func (f hostFile) config(at, dir string) (hostConfig, error) {
	h := hostConfig{capabilities: f.Capabilities, header: http.Header{}}
	if err := h.locate(at, f.OverridePath); err != nil {
		return h, err
	}
	for _, c := range f.Capabilities {
		if !slices.Contains([]string{"pull", "resolve", "push", "referrers"}, c) {
			return h, fmt.Errorf("unknown capability %q", c)
		}
	}
	for k, v := range f.Header {
		list, err := words(v)
		if err != nil {
			return h, fmt.Errorf("header %s: %w", k, err)
		}
		h.header[http.CanonicalHeaderKey(k)] = list
	}
	var err error
	if f.DialTimeout != "" {
		if h.dialTimeout, err = time.ParseDuration(f.DialTimeout); err != nil {
			return h, fmt.Errorf("dial_timeout: %w", err)
		}
	}
	h.tls, err = f.tls(dir)
	return h, err
}

// locate reads a host as containerd does: without a scheme it is https.
func (h *hostConfig) locate(at string, override bool) error {
	if at == "" {
		return nil
	}
	if !strings.Contains(at, "://") {
		at = "https://" + at
	}
	u, err := url.Parse(at)
	if err != nil {
		return err
	}
	if u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return fmt.Errorf("%q is not the URL of a host", u.Redacted())
	}
	h.scheme, h.host = u.Scheme, u.Host
	if h.host == "registry-1.docker.io" || h.host == "docker.io" {
		h.host = "index.docker.io"
	}
	path := strings.TrimSuffix(u.Path, "/")
	switch {
	case override:
		h.path = path
	case path != "" && path != "/v2":
		h.path = strings.TrimSuffix(path, "/v2") + "/v2"
	}
	return nil
}

// tls makes the configuration that the certificates ask for; nil if none does.
func (f hostFile) tls(dir string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: f.SkipVerify}
	cas, err := words(f.CA)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	for _, ca := range cas {
		if err := trust(c, inside(dir, ca)); err != nil {
			return nil, err
		}
	}
	pairs, err := clientPairs(f.Client)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	for _, p := range pairs {
		cert, err := tls.LoadX509KeyPair(inside(dir, p[0]), inside(dir, p[1]))
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		c.Certificates = append(c.Certificates, cert)
	}
	if !f.SkipVerify && c.RootCAs == nil && c.Certificates == nil {
		return nil, nil
	}
	return c, nil
}

// trust adds the certificates of a file to those of the machine.
func trust(c *tls.Config, path string) error {
	if c.RootCAs == nil {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		c.RootCAs = pool
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("ca: %s has no certificate", path)
	}
	return nil
}

// inside makes a relative path one of the folder.
func inside(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// words reads a string or a list of strings.
func words(v any) ([]string, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		var list []string
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, errors.New("it is not a list of strings")
			}
			list = append(list, s)
		}
		return list, nil
	}
	return nil, errors.New("it is not a string or a list of strings")
}

// clientPairs reads "both.pem", ["both.pem", …] or [["cert", "key"], …].
func clientPairs(v any) ([][2]string, error) {
	list, ok := v.([]any)
	if !ok {
		list = nil
		if v != nil {
			list = []any{v}
		}
	}
	var pairs [][2]string
	for _, e := range list {
		w, err := words(e)
		if err != nil || len(w) == 0 || len(w) > 2 {
			return nil, errors.New("it is not a file or a pair of files")
		}
		if len(w) == 1 || w[1] == "" {
			w = []string{w[0], w[0]}
		}
		pairs = append(pairs, [2]string{w[0], w[1]})
	}
	return pairs, nil
}

// dockerCerts reads a folder as Docker has it: NAME.crt are authorities, NAME.cert
// and NAME.key a client's certificate.
func dockerCerts(dir string) ([]hostConfig, error) {
	var f hostFile
	var cas, clients []any
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		switch base, ext := strings.TrimSuffix(e.Name(), filepath.Ext(e.Name())), filepath.Ext(e.Name()); ext {
		case ".crt":
			cas = append(cas, e.Name())
		case ".cert":
			clients = append(clients, []any{e.Name(), base + ".key"})
		}
	}
	if cas == nil && clients == nil {
		return nil, nil
	}
	f.CA, f.Client = cas, clients
	h, err := f.config("", dir)
	return []hostConfig{h}, err
}
