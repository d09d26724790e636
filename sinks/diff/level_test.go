package diff

import (
	"testing"
)

// A table of columns must not say of values that they are equal which nobody has looked at.
func TestColumnsCountAtEachLevelForWhatWasComparedOnly(t *testing.T) {
	compared := func(level Level) map[string]int64 {
		s := newScene(5)
		s.l.moves = true
		s.o.Level = level
		s.r.changes["1001"] = conversation("1001", 1, "tampered")
		r, _ := s.run(t)
		list := map[string]int64{}
		for _, c := range r.Entities[0].Columns {
			if c.NotCompared == "" {
				list[c.Name] = c.Compared
			}
		}
		return list
	}
	if full := compared(LevelFull); full["subject"] != 5 || full["content_hash"] != 5 {
		t.Errorf("level full: %v", full)
	}
	if fast := compared(LevelFast); fast["subject"] != 1 || fast["content_hash"] != 5 {
		t.Errorf("level fast: %v", fast)
	}
	if count := compared(LevelCount); len(count) != 0 {
		t.Errorf("level count: %v", count)
	}
}
