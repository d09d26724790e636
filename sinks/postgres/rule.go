package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"haloingest/pipeline/record"
)

// RuleKind is what a learning rule does (halo.md, 3.9).
type RuleKind string

// The kinds of learning rules.
const (
	RuleTopic       RuleKind = "topic"       // with any, only conversations that match one are distilled
	RuleKeyword     RuleKind = "keyword"     // a conversation that has it is not learned from
	RuleInstruction RuleKind = "instruction" // guidance for a model
)

// LearningRule is one learning rule of an organisation.
type LearningRule struct {
	ID        int64     `json:"number"`
	Kind      RuleKind  `json:"kind"`
	Rule      string    `json:"rule"`
	CreatedAt time.Time `json:"created_at"`
}

// LearningRules lists the rules of org: topics, keywords, instructions, each in the order in which they were added.
func (db *DB) LearningRules(ctx context.Context, org record.UUID) ([]LearningRule, error) {
	rows, err := db.pool.Query(ctx, `SELECT id, kind, rule, created_at FROM ingest.learning_rules WHERE org_id = $1
		ORDER BY array_position(ARRAY['topic', 'keyword', 'instruction'], kind), id`, org)
	if err != nil {
		return nil, wrap(ctx, err, "read the learning rules")
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r LearningRule, err error) {
		err = row.Scan(&r.ID, (*string)(&r.Kind), &r.Rule, &r.CreatedAt)
		return r, err
	})
	return list, wrap(ctx, err, "read the learning rules")
}

// AddLearningRule adds a rule and reports whether it was not there before. The rule must not be empty.
func (db *DB) AddLearningRule(ctx context.Context, org record.UUID, kind RuleKind, rule string) (added bool, err error) {
	tag, err := db.pool.Exec(ctx, `INSERT INTO ingest.learning_rules (org_id, kind, rule) VALUES ($1, $2, $3)
		ON CONFLICT (org_id, kind, md5(rule)) DO NOTHING`, org, string(kind), rule)
	return tag.RowsAffected() > 0, wrap(ctx, err, "add the %s rule", kind)
}

// RemoveLearningRule removes a rule and returns it; ErrNotFound if there is none with that number.
func (db *DB) RemoveLearningRule(ctx context.Context, org record.UUID, id int64) (LearningRule, error) {
	return db.removeRule(ctx, fmt.Sprintf("rule %d", id), `id = $2`, org, id)
}

// RemoveLearningRuleText is RemoveLearningRule for a rule that is named by what it says.
func (db *DB) RemoveLearningRuleText(ctx context.Context, org record.UUID, kind RuleKind, rule string) (LearningRule, error) {
	return db.removeRule(ctx, string(kind)+" rule", `kind = $2 AND md5(rule) = md5($3)`, org, string(kind), rule)
}

func (db *DB) removeRule(ctx context.Context, what, condition string, args ...any) (r LearningRule, err error) {
	rows, err := db.pool.Query(ctx, `DELETE FROM ingest.learning_rules WHERE org_id = $1 AND `+condition+` RETURNING id, kind, rule, created_at`, args...)
	if err != nil {
		return r, wrap(ctx, err, "remove the %s", what)
	}
	n := 0
	_, err = pgx.ForEachRow(rows, []any{&r.ID, (*string)(&r.Kind), &r.Rule, &r.CreatedAt}, func() error { n++; return nil })
	if err == nil && n == 0 {
		return r, fmt.Errorf("%s: %w", what, ErrNotFound)
	}
	return r, wrap(ctx, err, "remove the %s", what)
}
