package plan

import (
	"maps"
	"slices"
	"strings"

	"github.com/hodbuild/hod/builder/dockerfile"
)

// argInfo is what is known of an ARG, for outlines.
type argInfo struct {
	name, value, about string
	ranges             []dockerfile.Range
	deps               map[string]struct{}
}

// builtin are the arguments that exist in every FROM without being declared.
func (m *maker) builtin() *env {
	host, target := HostPlatform(), m.platform
	e := newEnv()
	for _, kv := range [][2]string{
		{"BUILDPLATFORM", FormatPlatform(host)}, {"BUILDOS", host.OS}, {"BUILDOSVERSION", host.OSVersion},
		{"BUILDARCH", host.Architecture}, {"BUILDVARIANT", host.Variant},
		{"TARGETPLATFORM", FormatFull(target)}, {"TARGETOS", target.OS}, {"TARGETOSVERSION", target.OSVersion},
		{"TARGETARCH", target.Architecture}, {"TARGETVARIANT", target.Variant}, {"TARGETSTAGE", m.targetName},
	} {
		value := kv[1]
		if given, ok := m.o.BuildArgs[kv[0]]; ok {
			value = given
		}
		e.Set(kv[0], value)
	}
	return e
}

// setGlobals evaluates the ARG lines above the first FROM, once as if no argument were given, to check the defaults.
func (m *maker) setGlobals(stages []dockerfile.Stage, globals []dockerfile.Arg) error {
	if defaults, _, err := m.evaluate(globals, nil); err == nil {
		for _, s := range stages {
			base, err := m.lex.Word(s.BaseName, defaults)
			if err != nil {
				break
			}
			if !ValidName(base.Result) {
				m.lint.InvalidDefaultBase(s.BaseName, s.Location)
			}
		}
	}
	var err error
	m.globals, m.args, err = m.evaluate(globals, m.o.BuildArgs)
	return err
}

func (m *maker) evaluate(globals []dockerfile.Arg, given map[string]string) (*env, map[string]argInfo, error) {
	scope, infos := m.builtin(), map[string]argInfo{}
	for _, line := range globals {
		for _, arg := range line.Args {
			info := argInfo{name: arg.Key, about: arg.DocComment, ranges: line.Location()}
			value, ok := given[arg.Key]
			if !ok && arg.Value != nil {
				word, err := m.lex.Word(*arg.Value, scope)
				if err != nil {
					return nil, nil, dockerfile.At(err, line.Location())
				}
				value, ok, info.deps = word.Result, true, word.Matched
				if _, self := word.Matched[arg.Key]; self {
					delete(info.deps, arg.Key)
					for name := range infos[arg.Key].deps {
						info.deps[name] = struct{}{}
					}
				}
			}
			if ok {
				scope.Set(arg.Key, value)
				info.value = value
			}
			infos[arg.Key] = info
		}
	}
	return scope, infos, nil
}

// knownArgs are the names that a FROM may use.
func (m *maker) knownArgs() []string {
	names := append([]string(nil), m.globals.Keys()...)
	for name := range m.args {
		if _, ok := m.globals.Get(name); !ok {
			names = append(names, name)
		}
	}
	return names
}

// proxyNames are the arguments that a RUN sees without declaring them, and that leave no trace.
var proxyNames = []string{"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"}

// proxies returns the proxy variables that were given, in both spellings; an empty one is none.
func (m *maker) proxies() []string {
	given := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(m.o.BuildArgs)) { // small letters last, which win
		given[strings.ToLower(name)] = m.o.BuildArgs[name]
	}
	var lines []string
	for _, name := range proxyNames {
		if value := given[name]; value != "" {
			lines = append(lines, strings.ToUpper(name)+"="+value, name+"="+value)
		}
	}
	return lines
}
