package registry

import (
	"context"
	"encoding/json"
	"fmt"
)

// CreateTeam creates a team. It fails as CreateKey does.
func (r *Registry) CreateTeam(ctx context.Context, actor, id string, spec TeamSpec) (*Team, error) {
	now := r.now()
	team := &Team{ID: id, TeamSpec: spec, Created: now, Updated: now, Version: 1}
	if err := team.check(); err != nil {
		return nil, err
	}
	err := r.change(ctx, KindTeam, id, func(old []byte) ([]byte, error) {
		if old != nil {
			return nil, ErrExists
		}
		return json.Marshal(team)
	})
	if err != nil {
		return nil, err
	}
	r.audit(KindTeam, id, "create", actor)
	return team, nil
}

// UpdateTeam changes the [TeamSpec] of a team, as UpdateKey does with a key.
func (r *Registry) UpdateTeam(ctx context.Context, actor, id string, patch []byte, version int64) (*Team, error) {
	var team *Team
	err := r.change(ctx, KindTeam, id, func(old []byte) ([]byte, error) {
		if old == nil {
			return nil, ErrNotFound
		}
		var err error
		if team, err = decodeTeam(old); err != nil {
			return nil, fmt.Errorf("%w: team %q can't be read: %w", ErrUnavailable, id, err)
		}
		if version != 0 && team.Version != version {
			return nil, ErrChanged
		}
		if err := merge(&team.TeamSpec, patch); err != nil {
			return nil, err
		}
		if err := team.check(); err != nil {
			return nil, err
		}
		team.Updated = r.now()
		team.Version++
		return json.Marshal(team)
	})
	if err != nil {
		return nil, err
	}
	r.audit(KindTeam, id, "update", actor)
	return team, nil
}

// DeleteTeam deletes a team. It fails with [ErrNotFound], [*InvalidError] if keys
// belong to the team, or [ErrUnavailable].
func (r *Registry) DeleteTeam(ctx context.Context, actor, id string) error {
	for _, key := range r.Snapshot().keys {
		if key.Team == id {
			return invalid(fmt.Sprintf("key %q belongs to team %q: move or delete it first", key.ID, id))
		}
	}
	err := r.change(ctx, KindTeam, id, func(old []byte) ([]byte, error) {
		if old == nil {
			return nil, ErrNotFound
		}
		return nil, nil
	})
	if err == nil {
		r.audit(KindTeam, id, "delete", actor)
	}
	return err
}
