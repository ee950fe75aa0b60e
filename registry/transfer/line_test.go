package transfer

import "testing"

// TestUploadsStayAtTheirOrigin reads where registries say that an upload goes on.
func TestUploadsStayAtTheirOrigin(t *testing.T) {
	for _, row := range []struct{ base, location, want string }{
		{"https://r.example", "https://r.example/v2/x", "https://r.example/v2/x"},
		{"https://r.example", "https://r.example:443/v2/x?a=b", "https://r.example/v2/x?a=b"},
		{"https://r.example:443", "https://r.example/v2/x", "https://r.example:443/v2/x"},
		{"http://r.example", "http://r.example:80/v2/x", "http://r.example/v2/x"},
		{"http://localhost:5000", "https://localhost:5000/v2/x", "https://localhost:5000/v2/x"},
		{"https://r.example", "https://r.example:444/v2/x", ""}, {"https://r.example", "http://r.example/v2/x", ""},
		{"https://r.example", "https://r.example:80/v2/x", ""}, {"https://r.example", "https://r.example.evil/v2/x", ""},
		{"https://r.example", "https://evil/v2/x", ""}, {"https://r.example", "//evil/v2/x", ""},
	} {
		got, err := (&Line{Base: row.base}).sameOrigin(row.location)
		if (err == nil) != (row.want != "") || err == nil && got.String() != row.want {
			t.Errorf("%s at %s: %v, %v", row.location, row.base, got, err)
		}
	}
}
