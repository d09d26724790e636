package postgres

import (
	"fmt"
	"testing"
)

// Runs over parts are together a whole one, if each part was walked to its end.
func TestWhatRunsHaveWalkedTogether(t *testing.T) {
	const whole = `"params": {"user_id_field": "external_id"}`
	x := newLoading(t)
	x.exec(`UPDATE ingest.runs SET kind = 'backfill', spec = '{"only":["conversations"],` + whole + `}', started_at = timestamptz '2026-01-02 00:00Z'`)
	x.run.Spec.Params = map[string]string{"user_id_field": "external_id"}
	for name, tt := range map[string]struct {
		runs []string // state, spec; the n-th began n hours after the first
		want string   // hours, or none
	}{
		"nothing else":            {nil, "none"},
		"the three others":        {[]string{`complete|{"only":["companies"],` + whole + `}`, `complete|{"only":["contacts"],` + whole + `}`, `complete|{"only":["tickets"],` + whole + `}`}, "0"},
		"two in one, one again":   {[]string{`complete|{"only":["companies","contacts"],` + whole + `}`, `complete|{"only":["tickets"],` + whole + `}`, `complete|{"only":["companies","contacts"],` + whole + `}`}, "1"},
		"a whole one":             {[]string{`complete|{` + whole + `}`}, "0"},
		"one was stopped":         {[]string{`complete|{"only":["companies","contacts"],` + whole + `}`, `interrupted|{"only":["tickets"],` + whole + `}`}, "none"},
		"one was a sample":        {[]string{`complete|{"only":["companies","contacts"],` + whole + `}`, `complete|{"sample":3,` + whole + `}`}, "none"},
		"one was a span":          {[]string{`complete|{"only":["companies","contacts"],` + whole + `}`, `complete|{"since":"2026-01-01T00:00:00Z",` + whole + `}`}, "none"},
		"one had another id":      {[]string{`complete|{"only":["companies","contacts"],` + whole + `}`, `complete|{"params":{"user_id_field":"email"}}`}, "none"},
		"one was undone":          {[]string{`complete|{"only":["companies","contacts"],` + whole + `}`, `undone|{` + whole + `}`}, "none"},
		"a sync is no whole walk": {[]string{`sync|{` + whole + `}`}, "none"},
	} {
		t.Run(name, func(t *testing.T) {
			x.exec(`DELETE FROM ingest.runs WHERE id <> $1`, x.run.ID)
			for i, run := range tt.runs {
				var state, spec string
				for n := range len(run) {
					if run[n] == '|' {
						state, spec = run[:n], run[n+1:]
						break
					}
				}
				x.exec(`INSERT INTO ingest.runs (org_id, id, kind, spec, state, started_at, undone_at)
					VALUES ($1, gen_random_uuid(), CASE $2 WHEN 'sync' THEN 'sync' ELSE 'backfill' END, $3, CASE WHEN $2 IN ('undone', 'sync') THEN 'complete' ELSE $2 END,
						timestamptz '2026-01-01 00:00Z' + $4 * interval '1 hour', CASE $2 WHEN 'undone' THEN now() END)`, orgA, state, spec, i)
			}
			got, err := x.run.Covered(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			text := "none"
			if !got.IsZero() {
				text = fmt.Sprint(int(got.Sub(got.Truncate(24 * 3600e9)).Hours()))
			}
			if text != tt.want {
				t.Errorf("changes count from %v, hour %s; want %s", got, text, tt.want)
			}
		})
	}
}
