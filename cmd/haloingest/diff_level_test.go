package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"haloingest/sinks/diff"
)

// A listing names conversations that Intercom has, so a row that somebody added is found by it, also one whose id no object gives.
func TestConversationsThatSomebodyAddedAreExtraAtEveryLevelThatLooksAtObjects(t *testing.T) {
	t.Parallel()
	b := newBench(t, diffWorkspace)
	b.connect()
	b.must([]string{"backfill"})
	b.sql(`INSERT INTO public.transcripts (org_id, id, source_id, source_updated_at, subject, status, messages, message_count, expected_message_count, complete, content_hash, run_id, metadata)
		SELECT org_id, gen_random_uuid(), '8888' || row_number() OVER (ORDER BY source_id), source_updated_at, subject, status, messages, message_count, expected_message_count, complete,
			content_hash, run_id, metadata
		FROM (SELECT * FROM public.transcripts WHERE deleted_at IS NULL ORDER BY source_id LIMIT 2) t`)
	want := map[string]string{"transcripts 88881 extra": "", "transcripts 88882 extra": ""}
	for _, level := range []diff.Level{diff.LevelFast, diff.LevelFull} {
		c := b.diff("intercom", "postgres", "--level", string(level), "--only", "conversations")
		if d := cmp.Diff(want, c.faults()); d != "" || c.code != exitDiffers {
			t.Errorf("level %s, code %d, %s (-planted +found):\n%s", level, c.code, c.Sentence, d)
		}
	}
}
