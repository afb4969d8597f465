package control

import (
	"net/http"

	"github.com/amanycodes/pine-gate/internal/keys/registry"
)

// TeamList is the answer to GET teams: those created at runtime.
type TeamList struct {
	Data []*registry.Team `json:"data"`
}

// NewTeam is the body of POST teams.
type NewTeam struct {
	ID string `json:"id"`
	registry.TeamSpec
}

func (c *call) listTeams() *Problem {
	list := TeamList{Data: []*registry.Team{}}
	if reg, err := c.gate.Registry(); err == nil {
		list.Data = append(list.Data, reg.Snapshot().Teams()...)
	}
	return c.answer(http.StatusOK, list)
}

func (c *call) showTeam() *Problem {
	id := c.r.PathValue("id")
	if reg, err := c.gate.Registry(); err == nil {
		if team := reg.Snapshot().Team(id); team != nil {
			return c.answer(http.StatusOK, team)
		}
	}
	return problemf(http.StatusNotFound, "no team %q was made at runtime", id)
}

func (c *call) createTeam() *Problem {
	reg, problem := c.registry()
	if problem != nil {
		return problem
	}
	asked, problem := decode[NewTeam](c)
	if problem != nil {
		return problem
	}
	if c.gate.ConfiguredTeam(asked.ID) {
		return problemf(http.StatusConflict, "the configuration has a team %q", asked.ID)
	}
	team, err := reg.CreateTeam(c.r.Context(), c.actor(), asked.ID, asked.TeamSpec)
	if err != nil {
		return c.problem(err)
	}
	c.w.Header().Set("Location", Base+"teams/"+team.ID)
	return c.answer(http.StatusCreated, team)
}

func (c *call) updateTeam() *Problem {
	reg, problem := c.registry()
	if problem != nil {
		return problem
	}
	version, problem := c.ifMatch()
	if problem != nil {
		return problem
	}
	patch, problem := c.body()
	if problem != nil {
		return problem
	}
	team, err := reg.UpdateTeam(c.r.Context(), c.actor(), c.r.PathValue("id"), patch, version)
	if err != nil {
		return c.problem(err)
	}
	return c.answer(http.StatusOK, team)
}

func (c *call) deleteTeam() *Problem {
	reg, problem := c.registry()
	if problem != nil {
		return problem
	}
	if err := reg.DeleteTeam(c.r.Context(), c.actor(), c.r.PathValue("id")); err != nil {
		return c.problem(err)
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (c *call) serveUsage() *Problem { return c.gate.ServeUsage(c.w, c.r) }
