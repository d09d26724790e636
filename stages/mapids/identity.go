package mapids

import (
	"encoding/json"
	"fmt"
	"strings"
)

const customPrefix = "custom_attributes."

// idField is a parsed user_id_field or company_id_field: either a standard field's name or a custom
// attribute's.
type idField struct{ standard, custom string }

func parseIDField(s, byDefault string, allowed ...string) (idField, error) {
	if s == "" {
		s = byDefault
	}
	for _, a := range allowed {
		if s == a {
			return idField{standard: s}, nil
		}
	}
	if name, ok := strings.CutPrefix(s, customPrefix); ok && name != "" {
		return idField{custom: name}, nil
	}
	return idField{}, fmt.Errorf("%q is none of %s or %sNAME", s, strings.Join(allowed, ", "), customPrefix)
}

// of returns the field's value: a standard field's from the map given, a custom attribute's as its
// text. Lists and objects identify nobody. Blanks alone are empty.
func (f idField) of(standard func(name string) string, custom map[string]json.RawMessage) string {
	v := ""
	if f.custom == "" {
		v = standard(f.standard)
	} else {
		v = scalarText(custom[f.custom])
	}
	if strings.TrimSpace(v) == "" {
		return ""
	}
	return v
}

// scalarText is the text of a canonical JSON string, number or boolean, "" of anything else.
func scalarText(canonical json.RawMessage) string {
	if len(canonical) == 0 {
		return ""
	}
	switch canonical[0] {
	case '"':
		var s string
		if json.Unmarshal(canonical, &s) != nil {
			return ""
		}
		return s
	case '{', '[', 'n':
		return ""
	}
	return string(canonical)
}
