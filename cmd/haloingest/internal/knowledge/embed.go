package knowledge

import (
	"context"

	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
	"haloingest/stages/distill/model"
)

// Embedded is what Embed did.
type Embedded struct {
	Rows      int64 `json:"rows"`      // that have a vector now and had none
	Asked     int64 `json:"asked"`     // texts that the model was asked about
	Kept      int64 `json:"kept"`      // rows whose text was known already
	Forgotten int64 `json:"forgotten"` // rows whose vector was another model's
}

// page is how many rows are worked on at once.
const page = 512

// Embed gives every record and chunk of org that has none a vector. What the model says is kept before it is used, so that an interrupted call, given again,
// asks for nothing twice. With an error, what was done is done.
func Embed(ctx context.Context, db *postgres.DB, org record.UUID, by *model.Embedder) (done Embedded, err error) {
	if done.Forgotten, err = db.PrepareEmbeddings(ctx, org, by.Model()); err != nil {
		return done, err
	}
	var after record.UUID
	for {
		rows, err := db.Unembedded(ctx, org, after, page)
		if err != nil || len(rows) == 0 {
			return done, err
		}
		after = rows[len(rows)-1].ID
		if err := embed(ctx, db, org, by, rows, &done); err != nil {
			return done, err
		}
	}
}

func embed(ctx context.Context, db *postgres.DB, org record.UUID, by *model.Embedder, rows []postgres.EmbedRow, done *Embedded) error {
	keys := make([][32]byte, len(rows))
	texts := make(map[[32]byte]string)
	for i := range rows {
		plain := model.Plain(rows[i].Content, rows[i].Name)
		keys[i] = by.Key(plain)
		texts[keys[i]] = plain
	}
	vectors, err := db.Vectors(ctx, org, keys)
	if err != nil {
		return err
	}
	var missing [][32]byte
	var ask []string
	for _, key := range keys { // in order, so that equal runs ask the same
		if text, open := texts[key]; open && vectors[key] == nil {
			missing, ask = append(missing, key), append(ask, text)
			delete(texts, key)
		}
	}
	made, failed := by.Embed(ctx, ask)
	if err := db.KeepVectors(ctx, org, missing[:len(made)], made); err != nil {
		return err
	}
	done.Asked += int64(len(made))
	for i, v := range made {
		vectors[missing[i]] = v
	}
	var have []postgres.EmbedRow
	var list [][]float32
	for i := range rows {
		if v := vectors[keys[i]]; v != nil {
			have, list = append(have, rows[i]), append(list, v)
		}
	}
	set, err := db.SetEmbeddings(ctx, org, have, list)
	if err != nil {
		return err
	}
	done.Rows += set
	done.Kept += max(set-int64(len(made)), 0)
	return failed
}
