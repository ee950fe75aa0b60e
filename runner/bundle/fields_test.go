//go:build linux

package bundle

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// all calls each for every field of a specification, and for a specification in
// which it is the only one that is set.
func all(t reflect.Type, name string, set func(reflect.Value) reflect.Value, each func(string, func(*specs.Spec))) {
	switch {
	case t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct:
		all(t.Elem(), name, func(v reflect.Value) reflect.Value {
			v = set(v)
			if v.IsNil() {
				v.Set(reflect.New(t.Elem()))
			}
			return v.Elem()
		}, each)
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			tag, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			full := strings.TrimPrefix(name+"."+tag, ".")
			if t.Field(i).Anonymous {
				full = name
			}
			all(t.Field(i).Type, full, func(v reflect.Value) reflect.Value { return set(v).Field(i) }, each)
		}
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		all(t.Elem(), name, func(v reflect.Value) reflect.Value {
			v = set(v)
			if v.Len() == 0 {
				v.Set(reflect.MakeSlice(t, 1, 1))
			}
			return v.Index(0)
		}, each)
	default:
		each(name, func(s *specs.Spec) { fill(set(reflect.ValueOf(s).Elem())) })
	}
}

func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString("x")
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem())
	case reflect.Interface:
		v.Set(reflect.ValueOf("x"))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	default:
		v.SetInt(1)
	}
}

// TestEveryField: each field of the runtime specification is among those that
// are honoured, or is refused by its name.
func TestEveryField(t *testing.T) {
	var names []string
	all(reflect.TypeFor[specs.Spec](), "", func(v reflect.Value) reflect.Value { return v }, func(name string, set func(*specs.Spec)) {
		names = append(names, name)
		s := &specs.Spec{Linux: &specs.Linux{}}
		set(s)
		lost := unhonoured(s)
		if slices.Contains(honoured, name) {
			if len(lost) > 0 {
				t.Errorf("%s: honoured, yet %v are refused", name, lost)
			}
			return
		}
		if err := check(s); err == nil || !strings.Contains(err.Error(), "config.json: "+name+": not supported") {
			t.Errorf("%s: neither honoured nor refused: %v", name, err)
		}
	})
	for _, h := range honoured {
		if !slices.Contains(names, h) {
			t.Errorf("%s: no field of the specification", h)
		}
	}
	if len(names) < 200 {
		t.Errorf("only %d fields were found", len(names))
	}
}
