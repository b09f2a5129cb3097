"""Who answers: features, policies, the router, and its doors."""
