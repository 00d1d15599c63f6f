"""Queues, semaphores and limits that share a resource fairly between tenants."""
