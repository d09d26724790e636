package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
	"haloingest/stages/distill"
)

// Rules reads the organisation's learning rules in the form in which the distill stage takes them.
func Rules(ctx context.Context, db *postgres.DB, org record.UUID) (distill.Rules, error) {
	list, err := db.LearningRules(ctx, org)
	if err != nil {
		return distill.Rules{}, err
	}
	var rules distill.Rules
	for _, r := range list {
		switch r.Kind {
		case postgres.RuleTopic:
			rules.Topics = append(rules.Topics, r.Rule)
		case postgres.RuleKeyword:
			rules.Keywords = append(rules.Keywords, r.Rule)
		case postgres.RuleInstruction:
			rules.Instructions = append(rules.Instructions, r.Rule)
		}
	}
	return rules, nil
}

// LearnBy makes the rules and the distiller a part of what a run is: an unfinished run of other ones is not gone on with, which
// would leave half of the knowledge as it was. Without any, a run is what it always was.
func LearnBy(params map[string]string, rules distill.Rules, by distill.Distiller) {
	if len(rules.Topics)+len(rules.Keywords)+len(rules.Instructions) > 0 {
		text, _ := json.Marshal(rules) // of strings: it cannot fail
		sum := sha256.Sum256(text)
		params["learning_rules"] = hex.EncodeToString(sum[:8])
	}
	if by != nil {
		params["distiller"] = by.Name()
	}
}
