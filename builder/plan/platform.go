package plan

import (
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

var platformPart = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_.-]+$`) })

// aliases of processors, as uname and distributions call them.
var archAliases = map[string][2]string{
	"x86_64": {"amd64"}, "x86-64": {"amd64"}, "i386": {"386"}, "i486": {"386"}, "i586": {"386"}, "i686": {"386"},
	"aarch64": {"arm64"}, "armhf": {"arm", "v7"}, "armel": {"arm", "v6"}, "arm": {"arm", "v7"}, "loongarch64": {"loong64"},
}

// A word alone has to be one of these.
var (
	knownOS = []string{"aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux", "nacl", "netbsd", "openbsd",
		"plan9", "solaris", "windows", "zos"}
	knownArch = []string{"386", "amd64", "amd64p32", "arm", "armbe", "arm64", "arm64be", "loong64", "mips", "mipsle", "mips64", "mips64le",
		"mips64p32", "mips64p32le", "ppc", "ppc64", "ppc64le", "riscv", "riscv64", "s390", "s390x", "sparc", "sparc64", "wasm"}
)

// HostPlatform is the platform of this machine.
func HostPlatform() ocispec.Platform {
	return normal(ocispec.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH})
}

// ParsePlatform reads os/arch[/variant], os(version)/arch[/variant], an operating system or a processor alone.
func ParsePlatform(s string) (ocispec.Platform, error) {
	bad := func() (ocispec.Platform, error) {
		return ocispec.Platform{}, fmt.Errorf("platform %q is not of the form os/arch[/variant]", s)
	}
	parts := strings.Split(s, "/")
	p := ocispec.Platform{}
	if name, version, ok := strings.Cut(parts[0], "("); ok && strings.HasSuffix(version, ")") {
		parts[0], p.OSVersion = name, strings.TrimSuffix(version, ")")
	}
	for _, part := range parts {
		if !platformPart().MatchString(part) || part == "." || part == ".." {
			return bad()
		}
	}
	host := HostPlatform()
	switch len(parts) {
	case 1:
		word := normal(ocispec.Platform{OS: parts[0], Architecture: parts[0]})
		switch {
		case slices.Contains(knownOS, word.OS):
			p.OS, p.Architecture, p.Variant = word.OS, host.Architecture, host.Variant
		case slices.Contains(knownArch, word.Architecture):
			p.OS, p.Architecture, p.Variant = host.OS, word.Architecture, word.Variant
		default:
			return p, fmt.Errorf("platform %q is neither an operating system nor a processor that is known: write os/arch[/variant]", s)
		}
	case 2:
		p.OS, p.Architecture = parts[0], parts[1]
	case 3:
		p.OS, p.Architecture, p.Variant = parts[0], parts[1], parts[2]
	default:
		return bad()
	}
	return normal(p), nil
}

// normal writes a platform in the one way that it is compared and printed.
func normal(p ocispec.Platform) ocispec.Platform {
	p.OS, p.Architecture, p.Variant = strings.ToLower(p.OS), strings.ToLower(p.Architecture), strings.ToLower(p.Variant)
	if p.OS == "macos" {
		p.OS = "darwin"
	}
	if alias, ok := archAliases[p.Architecture]; ok {
		p.Architecture = alias[0]
		if p.Variant == "" {
			p.Variant = alias[1]
		}
	}
	switch {
	case p.Architecture == "arm64" && (p.Variant == "v8" || p.Variant == "8"):
		p.Variant = ""
	case p.Architecture == "amd64" && p.Variant == "v1":
		p.Variant = ""
	case p.Architecture == "arm" && len(p.Variant) == 1:
		p.Variant = "v" + p.Variant
	}
	return p
}

// FormatPlatform writes os/arch[/variant].
func FormatPlatform(p ocispec.Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// FormatFull writes os[(version)]/arch[/variant].
func FormatFull(p ocispec.Platform) string {
	if p.OSVersion == "" {
		return FormatPlatform(p)
	}
	return p.OS + "(" + p.OSVersion + ")" + strings.TrimPrefix(FormatPlatform(p), p.OS)
}
