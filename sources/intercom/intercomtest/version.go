package intercomtest

import (
	"strconv"
	"strings"
)

// version is an API version, major*1000 + minor. Preview is above all others.
type version int

const (
	versionPreview version = 1 << 20
	version212             = version(2*1000 + 12)
	version215             = version(2*1000 + 15)
	version216             = version(2*1000 + 16)
	version217             = version(2*1000 + 17)
)

// parseVersion knows 1.0 to 1.4, 2.0 to 2.17 and the rolling one.
func parseVersion(s string) (version, bool) {
	switch s {
	case "Preview", "Unstable", "0":
		return versionPreview, true
	}
	a, b, ok := strings.Cut(s, ".")
	if !ok || len(b) == 0 || len(b) > 2 || b[0] == '0' && len(b) > 1 {
		return 0, false
	}
	minor, err := strconv.Atoi(b)
	if err != nil || minor < 0 {
		return 0, false
	}
	switch {
	case a == "1" && minor <= 4:
		return version(1000 + minor), true
	case a == "2" && minor <= 17:
		return version(2000 + minor), true
	}
	return 0, false
}
