package layers

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// DefaultRegistry is the registry of names that carry none.
const DefaultRegistry = "docker.io"

// DefaultTag is the tag of names that carry neither tag nor digest.
const DefaultTag = "latest"

const (
	maxRepository = 255 // registry and repository together, as Docker has it
	maxTag        = 128
)

// Name is a normalised image name: Registry/Repository[:Tag][@Digest].
type Name struct {
	Registry   string        // host[:port], "docker.io" by default
	Repository string        // "library/alpine"
	Tag        string        // "latest" when the name had neither tag nor digest
	Digest     digest.Digest // empty, or valid
}

// ParseName reads an image name by Docker's rules for short names: the first
// part is a registry if it has a dot, a colon or a capital, or is "localhost";
// a name of one part lies in docker.io/library. It is strict: what it accepts
// matches the grammar of the distribution specification and is idempotent
// (ParseName(n.String()) == n).
func ParseName(s string) (Name, error) {
	n, err := parseName(s)
	if err != nil {
		return Name{}, fmt.Errorf("parse image name %q: %w", s, err)
	}
	return n, nil
}

func parseName(s string) (Name, error) {
	var n Name
	if s == "" {
		return n, fmt.Errorf("it is empty")
	}
	rest, dgst, hasDigest := strings.Cut(s, "@")
	if hasDigest {
		n.Digest = digest.Digest(dgst)
		if err := validDigest(n.Digest); err != nil {
			return n, err
		}
	}
	// A colon after the last slash begins the tag; before it, a port.
	if i := strings.LastIndexByte(rest, ':'); i > strings.LastIndexByte(rest, '/') {
		n.Tag, rest = rest[i+1:], rest[:i]
		if !validTag(n.Tag) {
			return n, fmt.Errorf("%q is not a tag", n.Tag)
		}
	} else if !hasDigest {
		n.Tag = DefaultTag
	}
	n.Registry, n.Repository = splitRegistry(rest)
	return n, n.check()
}

// splitRegistry takes the registry off a name and fills in the defaults.
func splitRegistry(s string) (registry, repository string) {
	first, rest, found := strings.Cut(s, "/")
	isHost := strings.ContainsAny(first, ".:") || first == "localhost" || strings.ToLower(first) != first
	switch {
	case !found || !isHost:
		registry, repository = DefaultRegistry, s
	default:
		registry, repository = first, rest
	}
	if registry == "index.docker.io" {
		registry = DefaultRegistry
	}
	if registry == DefaultRegistry && !strings.Contains(repository, "/") {
		repository = "library/" + repository
	}
	return registry, repository
}

func (n Name) check() error {
	short := strings.TrimPrefix(n.Repository, "library/")
	switch {
	case !validRegistry(n.Registry):
		return fmt.Errorf("%q is not a registry host", n.Registry)
	case strings.ToLower(n.Repository) != n.Repository:
		return fmt.Errorf("repository name %q must be lower case", short)
	case !ValidRepository(n.Repository):
		return fmt.Errorf("%q is not a repository name", short)
	case len(n.Registry)+1+len(n.Repository) > maxRepository:
		return fmt.Errorf("it is longer than %d bytes", maxRepository)
	case n.Registry == DefaultRegistry && len(short) == 64 && isHex(short):
		return fmt.Errorf("64 hexadecimal digits are an image ID, not a name")
	}
	return nil
}

// String is the full name, as references are kept: docker.io/library/alpine:latest.
func (n Name) String() string { return n.Registry + "/" + n.Repository + n.suffix() }

// Familiar is the shortest name that means the same: alpine:latest.
func (n Name) Familiar() string { return n.FamiliarRepository() + n.suffix() }

// FamiliarRepository is Familiar without tag and digest: alpine.
func (n Name) FamiliarRepository() string {
	if n.Registry != DefaultRegistry {
		return n.Registry + "/" + n.Repository
	}
	short := strings.TrimPrefix(n.Repository, "library/")
	// library/a.b/c would come back as a registry: keep what disambiguates.
	if reg, repo := splitRegistry(short); reg != n.Registry || repo != n.Repository {
		return n.Registry + "/" + n.Repository
	}
	return short
}

func (n Name) suffix() string {
	s := ""
	if n.Tag != "" {
		s = ":" + n.Tag
	}
	if n.Digest != "" {
		s += "@" + string(n.Digest)
	}
	return s
}

// key is what a reference is filed under: a digest makes the tag say nothing.
func (n Name) key() string {
	if n.Digest != "" {
		n.Tag = ""
	}
	return n.String()
}

// ValidRepository tells whether s is a repository path of the distribution
// specification: lower-case components joined by slashes.
func ValidRepository(s string) bool {
	if s == "" || len(s) > maxRepository {
		return false
	}
	for part := range strings.SplitSeq(s, "/") {
		if !validComponent(part) {
			return false
		}
	}
	return true
}

// validComponent: alphanumerics separated by one dot, one or two underscores,
// or any number of dashes.
func validComponent(s string) bool {
	if s == "" || !isLowerAlnum(s[0]) || !isLowerAlnum(s[len(s)-1]) {
		return false
	}
	for i := 0; i < len(s); {
		if isLowerAlnum(s[i]) {
			i++
			continue
		}
		j := i
		for j < len(s) && !isLowerAlnum(s[j]) {
			j++
		}
		sep := s[i:j]
		if sep != "." && sep != "_" && sep != "__" && strings.Trim(sep, "-") != "" {
			return false
		}
		i = j
	}
	return true
}

// ValidTag tells whether s is a tag of the distribution specification.
func ValidTag(s string) bool { return validTag(s) }

func validTag(s string) bool {
	if s == "" || len(s) > maxTag || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isLowerAlnum(c) && (c < 'A' || c > 'Z') && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

func validRegistry(s string) bool {
	host := s
	if strings.HasPrefix(s, "[") { // an IPv6 address
		end := strings.IndexByte(s, ']')
		if end < 0 || !validIPv6(s[1:end]) {
			return false
		}
		return s[end+1:] == "" || s[end+1] == ':' && validPort(s[end+2:])
	}
	if h, port, found := strings.Cut(s, ":"); found {
		if host = h; !validPort(port) {
			return false
		}
	}
	for label := range strings.SplitSeq(host, ".") {
		if !validLabel(label) {
			return false
		}
	}
	return true
}

func validLabel(s string) bool {
	if s == "" || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isLowerAlnum(c) && (c < 'A' || c > 'Z') && c != '-' {
			return false
		}
	}
	return true
}

func validIPv6(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != ':' && !isHexDigit(c) && (c < 'A' || c > 'F') {
			return false
		}
	}
	return len(s) >= 2 && strings.Contains(s, ":")
}

func validPort(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 5
}

func isLowerAlnum(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

func isHexDigit(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }

func isHex(s string) bool {
	for i := range len(s) {
		if !isHexDigit(s[i]) {
			return false
		}
	}
	return s != ""
}

// digestSize is the length in hexadecimal digits of each algorithm that we take.
var digestSize = map[string]int{"sha256": 64, "sha384": 96, "sha512": 128}

// validDigest is go-digest's Validate without its regular expression: an
// algorithm that we know, and exactly its number of lower-case digits.
func validDigest(d digest.Digest) error {
	alg, hex, _ := strings.Cut(string(d), ":")
	if n := digestSize[alg]; n == 0 || len(hex) != n || !isHex(hex) {
		return fmt.Errorf("%q is not a digest", string(d))
	}
	return nil
}
